// One run, fully decided: what is left of flags and TOML after validation. Plain values, shared with the runtime.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace esp {

enum class Precision : uint32_t { kDefault = 0, kFp32 = 1, kTf32 = 2, kBf16 = 3, kFp16 = 4 };  // ESP_PRECISION_ numbers
enum class Device { kAuto, kCpu, kCuda };
enum class OnNonfinite { kStop, kIgnore };
enum class OptimizerKind { kAdamW, kSgd };
enum class Schedule { kConstant, kLinear, kCosine };

// Every default below equals the one in the key table (config/keys.cpp), which is where users read it.
struct RunConfig {
  struct Run {
    std::string plugin;    // library: a file name to search for, or an absolute path; without the component
    std::string strategy;  // component; empty = the library's only one
    int32_t nproc = 1;
    Device device = Device::kAuto;
    int32_t threads = 0;         // per rank; 0 = cores / local ranks
    uint64_t device_budget = 0;  // bytes; 0 = what is there
    uint64_t pinned_budget = 0;
    double timeout_s = 300;         // of a collective
    int64_t collective_blocks = 0;  // 0: NCCL's choice
    uint64_t seed = 42;
    std::string out;                 // folder of this run; empty = out/<date>-<plugin>
    std::string verbosity = "info";  // debug, info, warning, error
  } run;
  struct Model {
    std::string module = "libvit.so";
    std::string recompute = "none";
    std::vector<std::string> freeze;  // patterns with * and ?, matched against whole parameter names
  } model;
  struct Data {
    std::string module = "libvit.so";
    std::string split = "validation";  // of `host eval`
    bool shuffle = true;
    uint64_t limit = 0;  // samples per split; 0 = all
    bool drop_last = false;
    int32_t workers = 0;  // 0 = run.threads
  } data;
  struct Train {
    int64_t epochs = 0;              // 0 = max_steps decides, or 3
    int64_t max_steps = 0;           // 0 = epochs decide
    int64_t batch_size = 0;          // micro-batch of a rank; 0 = derived
    int64_t global_batch_size = 0;   // 0 = derived
    int64_t accumulation_steps = 0;  // 0 = derived
    Precision precision = Precision::kDefault;
    double clip_norm = 0;   // 0 = off
    double eval_every = 1;  // epochs; 0 = never
    OnNonfinite on_nonfinite = OnNonfinite::kStop;
    bool save = true;
    bool deterministic = false;
    bool graph = true;          // whole steps as one CUDA graph
    int64_t profile_steps = 0;  // after the last one
  } train;
  struct Optimizer {
    OptimizerKind name = OptimizerKind::kAdamW;
    double lr = 5e-5;
    double weight_decay = 0.01;
    std::array<double, 2> betas{0.9, 0.999};
    double eps = 1e-8;
    double momentum = 0.9;  // sgd
    Schedule schedule = Schedule::kCosine;
    std::optional<int64_t> warmup_steps;
    std::optional<double> warmup_ratio;
  } optimizer;
};

// Micro-batch, accumulation and global batch that fit together for a world size.
struct BatchPlan {
  int64_t micro_batch = 0;
  int64_t accumulation = 0;
  int64_t global_batch = 0;  // == micro_batch * accumulation * world
};

// global = batch_size x accumulation_steps x world size: what is given decides, the rest follows (defaults: batch 32 in
// all on CPU and CUDA alike, accumulation 1). Throws Error(kUsage) with the numbers on a contradiction.
BatchPlan plan_batch(const RunConfig::Train& train, int64_t world_size);

}  // namespace esp
