// The stored runs of PyTorch (data/goldens.json, made by reference/make_goldens.py) and the same runs by the host.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/host_process.hpp"
#include "support/run_folder.hpp"

namespace esp::test {

struct GoldenStep {
  int64_t step = 0;
  double loss = 0, lr = 0, grad_norm = 0;
  uint64_t samples = 0;
};

struct GoldenEvaluation {
  int64_t epoch = 0;
  double loss = 0;
  uint64_t correct = 0, samples = 0;
};

struct GoldenCase {
  std::string name, checkpoint;
  nlohmann::json settings;  // by the host's keys
  std::vector<GoldenStep> steps;
  std::vector<GoldenEvaluation> evaluations;
};

const nlohmann::json& goldens();
const std::vector<GoldenCase>& golden_cases();
const GoldenCase& golden_case(const std::string& name);
std::vector<GoldenStep> read_steps(const nlohmann::json& list);

std::string parity_data(const std::string& name);

// A run of the host in `folder` (which must not exist yet): one thread a rank, no shuffle, no augmentation, libddp.so,
// fp32, the stored images, then `settings`, then `more`.
struct HostRun {
  Outcome outcome;
  RunFolder folder;
};
HostRun train(const std::string& folder, const std::string& checkpoint, const nlohmann::json& settings, int nproc,
              const nlohmann::json& more = nlohmann::json::object());

double relative_gap(double value, double expected);

}  // namespace esp::test
