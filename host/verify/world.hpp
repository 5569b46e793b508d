// All ranks of a small training run with one strategy, driven as the contract says, checked at every call.
#pragma once

#include <espalier/strategy.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "config/option_set.hpp"
#include "modules/module.hpp"
#include "verify/executor.hpp"
#include "verify/oracle.hpp"
#include "verify/rank_host.hpp"

namespace esp::verify {

struct Scenario {
  int world = 1;
  uint32_t n_micro = 1;
  uint32_t precision = ESP_PRECISION_DEFAULT;
  OptimizerSettings optimizer;
  uint32_t steps = 4;
  bool infer = false;
  bool same_samples = false;   // every rank sees what rank 0 sees
  bool capture = false;        // replay steps whose variant was captured
  bool evaluate = true;        // between all steps
  bool watch_updates = false;  // SGD in fp32 without clipping: are the gradients those of all ranks?
  bool compare = true;         // with the oracle
  int64_t overflow_step = -1;  // rank 0's gradients are infinite in this step
  int64_t refuse_allocation = -1;
  bool dry = false;
  uint64_t budget_device = 0;  // bytes, 0 = none
  bool tight = false;          // adapt is given no more than what is held
  Order order = Order::kRandom;
  uint64_t seed = 42;
};

struct Shard {
  uint32_t param = 0;
  std::string slot;
  uint64_t lo = 0, hi = 0;
  void* data = nullptr;
  esp_dtype dtype = 0;
  uint32_t flags = 0;
  bool operator==(const Shard&) const = default;
};

// What a rank holds, by (slot, parameter).
using Saved = std::map<std::string, std::vector<std::vector<double>>>;

// Time of the host thread in hooks, all that is checked on the way included.
struct HookCost {
  uint64_t calls = 0;
  std::chrono::steady_clock::duration spent{};

  double ns_each() const {
    return calls == 0 ? 0 : std::chrono::duration<double, std::nano>(spent).count() / static_cast<double>(calls);
  }
};

class World {
 public:
  World(const ModuleComponent& component, const OptionSet& options, const Scenario& scenario, Findings& findings);
  ~World();
  World(const World&) = delete;

  // Each returns whether to go on. start: create, plan, prepare; fill: the initial state, or a saved one.
  bool start();
  bool fill(const Saved* saved = nullptr);
  bool step();  // behind the warm-up of a strategy that adapts: adapts first
  bool evaluate();
  bool adapts() const { return !scenario_.infer && (plan().caps & ESP_CAP_ADAPTS) != 0; }
  bool adapt();
  bool save(Saved& into);  // checks the lists, assembles what all ranks hold
  void finish();           // destroy and what can be said then
  // All of it, with an evaluation around each step.
  bool train();

  const esp_plan& plan() const { return ranks_.front()->host->plan; }
  const RankHost& host(int rank) const { return *ranks_[static_cast<size_t>(rank)]->host; }
  Oracle& oracle() { return oracle_; }
  const HookCost& hook_cost() const { return hook_cost_; }
  std::string refusal;  // text of create or plan, where it refuses with a code
  // Whether the last step updated with each rank's own gradients: asked for in a scenario with `watch_updates`.
  bool updates_locally() const { return n_local_ > 0 && n_local_ == n_watched_; }
  const std::vector<std::vector<double>>& seen_weights(int rank) const {
    return ranks_[static_cast<size_t>(rank)]->seen;
  }

 private:
  struct Rank {
    std::unique_ptr<RankHost> host;
    esp_run run{};
    esp_config config{};
    void* self = nullptr;
    std::vector<Shard> shards;
    std::vector<std::vector<double>> seen;  // weights, by the last forward
  };
  struct Graph {
    int eager = 0;  // times it ran so
    std::vector<std::vector<std::string>> names;
    std::vector<std::vector<Op>> work;
  };

  using Call = std::function<esp_status(esp_error*)>;
  bool call(Rank& rank, Role role, const char* name, const Call& function, bool may_refuse = false);
  template <class Function>
  bool hook(Rank& rank, const char* name, const Function& function);
  bool on_ranks(const std::function<bool(Rank&)>& function);
  bool call_state(Rank& rank, const esp_shard_sink& sink);
  bool call_loaded(Rank& rank);
  bool call_adapt(Rank& rank, uint64_t capacity);
  bool is_warm() const { return index_ == std::max(1u, plan().warmup_steps); }
  bool drain();
  bool record_step(Rank& rank, uint64_t index, uint32_t variant, uint32_t flags);
  bool record_evaluation(Rank& rank);
  bool run_unit(Rank& rank, esp_step& step, const esp_item& item, bool training);
  void forward(Rank& rank, const esp_item& item, bool training);
  void backward(Rank& rank, const esp_item& item);
  std::vector<double> gradient_values(const Rank& rank, const esp_item& item, const esp_bind& weights) const;
  void check_unit(Rank& rank, uint32_t unit, bool training);
  void compare_weights(Rank& rank, uint32_t param, const esp_bind& bind, const Where& where, bool training);
  uint32_t begin_step();
  void compare_calls(Graph& graph, const std::vector<std::vector<Op>>& work);
  void check_step();
  void check_coverage();
  void check_norm();
  void watch(Rank& rank);
  void compare_gradients(Rank& rank);
  bool list(Rank& rank, std::vector<Shard>& out);
  void check_shards();
  void check_slot(const std::string& slot, bool frozen_too);

  const ModuleComponent& component_;
  const OptionSet& options_;
  const Scenario scenario_;
  Findings& findings_;
  Toy toy_;
  Oracle oracle_;
  esp_strategy_v1 table_{};
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::mt19937_64 random_;
  std::map<uint32_t, Graph> graphs_;
  Scaler scaler_;
  uint64_t index_ = 0;
  int64_t segment_ = 0;
  uint64_t n_watched_ = 0, n_local_ = 0;
  HookCost hook_cost_;
  std::set<uint32_t> written_;  // gradients, in this pass
};

}  // namespace esp::verify
