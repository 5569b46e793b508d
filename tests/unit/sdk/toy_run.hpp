// A toy model with everything that trips strategies up (tied, frozen, unused, empty and orphaned parameters, blocks of
// different sizes), a training loop that drives a strategy library through its C table, and an oracle.
#pragma once

#include <espalier/strategy.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mock_host.hpp"

class Toy {
 public:
  enum : uint32_t { kEmbedding, kWeight, kEmpty, kFrozen, kWeight2, kUnused, kHead, kTied, kOrphan, kParams };

  // tied: whether kTied is used by the first and the last unit, or by nobody.
  // early: units other than the last are said not to use it: what a strategy sees that overlooks them.
  Toy(uint32_t n_micro, bool tied, bool early = false);
  Toy(const Toy&) = delete;

  const esp_view& view() const { return view_; }
  uint64_t numel(uint32_t param) const { return view_.params[param]->numel; }
  bool trainable(uint32_t param) const { return (view_.params[param]->flags & ESP_PARAM_TRAINABLE) != 0; }

  static float initial(uint32_t param, uint64_t i);
  // Gradient that one use of a weight adds: of the weight as it is, so that weights changed too early show.
  static float contribution(uint32_t param, uint64_t i, uint32_t unit, uint64_t micro, float weight, float seed);

 private:
  std::deque<esp_param> params_;
  std::deque<esp_unit> units_;
  std::vector<std::vector<uint32_t>> uses_;
  std::vector<const esp_param*> param_list_;
  std::vector<const esp_unit*> unit_list_;
  std::vector<esp_item> train_, eval_;
  esp_view view_{};
};

using Values = std::vector<std::vector<float>>;  // [param][element]

struct ToySettings {
  std::string library;
  int world = 1;
  uint32_t n_micro = 1;
  bool tied = true;
  uint32_t steps = 3;
  uint32_t mode = ESP_MODE_TRAIN;
  uint32_t precision = ESP_PRECISION_DEFAULT;
  int32_t device_kind = ESP_CPU;
  uint64_t budget_device = 0;  // bytes, 0 = no limit
  uint64_t other_bytes = 0;    // of the device, which a strategy that adapts is told of
  MockUpdate update;
  Mistake mistake = Mistake::kNone;
  uint32_t evaluate_every = 1;                   // steps
  bool capture = false;                          // the second step of a kind is captured, later ones are replayed
  bool on_threads = false;                       // each stream of each rank runs on its own
  std::set<size_t> swallowed_waits;              // see MockHost
  std::set<std::pair<uint32_t, int>> overflows;  // (step, rank): a gradient there is infinite
  std::map<std::string, Values> loaded;          // what shards are filled with, by slot; empty: Toy::initial and zero
  std::map<std::string, uint64_t> options;       // numbers, by key
  std::map<std::string, const char*> texts;      // the same for texts
};

struct ToyShard {
  uint32_t param;
  std::string slot;
  uint64_t lo, hi;
  void* data;
  esp_dtype dtype;
  uint32_t flags;
  std::vector<float> values;  // when it was listed
  bool operator==(const ToyShard& other) const {
    return param == other.param && slot == other.slot && lo == other.lo && hi == other.hi && data == other.data;
  }
};

// What one rank has seen.
struct ToyRank {
  std::unique_ptr<MockHost> host;
  esp_plan plan{};
  std::string error;             // the first failure; the rest is then empty
  std::vector<ToyShard> shards;  // as listed before the first step, or behind adapt
  std::vector<ToyShard> shards_before_adapt;
  std::map<uint32_t, uint64_t> warmup_peak;  // bytes by place, before adapt
  std::vector<ToyShard> shards_again;        // and behind the last
  Values weights;                            // as the model sees them in the end
  std::vector<Values> evaluated;             // by evaluation: the first before any step, then one behind each
  std::vector<size_t> step_ops;              // index of each step's first operation
  size_t adapt_ops[2] = {0, 0};              // index of the first operation of adapt, and of the first behind it
  uint32_t replays = 0;                      // steps that ran no hook
  uint64_t freed_to = 0;                     // allocations that destroy left behind
};

// Trains in one thread a rank, with an evaluation before, between and behind steps (two behind steps with odd numbers).
std::vector<ToyRank> train(const ToySettings& settings);

// In which order the strategy adds what different uses, micro-batches and ranks contribute to a gradient.
enum class Addition { kMicrosThenRanks, kRanksThenMicros };

// What the optimizer did with a step.
struct OracleStep {
  float loss_scale;
  bool skipped;
  double grad_norm;  // unscaled, before clipping
};

// The same by a few loops. period: 0 = gradients are averaged; else weights, every `period` steps. Weights of rank 0 as
// the model sees them. plan: of loss scaling, in fp16; steps: each one, where they are asked for.
Values oracle(const ToySettings& settings, uint32_t period = 0, Addition addition = Addition::kMicrosThenRanks,
              const esp_plan& plan = {}, std::vector<OracleStep>* steps = nullptr);
