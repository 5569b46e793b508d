#include "toy_run.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>

namespace {

constexpr float kRate = 0.125f;
constexpr float kMomentum = 0.5f;

float initial(uint32_t param, uint64_t i) {
  return 0.5f + 0.01f * static_cast<float>(param) + 0.001f * static_cast<float>(i);
}

// Gradient that one use of a weight adds: of the weight as it is, so that weights changed too early show.
float contribution(uint32_t param, uint64_t i, uint32_t unit, uint64_t micro, float weight, float seed) {
  if (param == Toy::kUnused) return 0.0f;
  const float data = std::sin(static_cast<float>(param * 7 + i * 3 + unit * 5) + 1.7f * static_cast<float>(micro));
  return (0.25f * data + 0.5f * weight) * seed;
}

float rounded(float value, esp_dtype dtype) {
  float out = 0;
  from_float(&out, 0, dtype, value);
  return to_float(&out, 0, dtype);
}

class Rank {
 public:
  Rank(const ToySettings& settings, MockWorld& world, int rank)
      : settings_(settings),
        toy_(settings.n_micro, settings.tied),
        shown_(settings.n_micro, settings.tied, settings.mistake == Mistake::kTiedReducedEarly),
        rank_(rank) {
    result_.host = std::make_unique<MockHost>(world, rank, settings.update);
    result_.host->mistake = settings.mistake;
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      result_.host->numel.push_back(toy_.view().params[param]->numel);
      if (toy_.trainable(param)) result_.host->trained_elements += toy_.view().params[param]->numel;
    }
  }

  ToyRank run() {
    if (start() && prepare()) {
      bool fine = evaluate();
      for (uint32_t i = 0; fine && i < settings_.steps; ++i) {
        fine = (settings_.mode == ESP_MODE_INFER || step(i)) && evaluate();
        if (fine && adapts() && i + 1 == result_.plan.warmup_steps) fine = adapt() && evaluate_again();
        fine = fine && (i % 2 == 0 || evaluate_again());
      }
      list(result_.shards_again);
      read_weights();
    }
    if (self_ != nullptr) table_->destroy(self_);
    result_.freed_to = result_.host->allocations.size();
    return std::move(result_);
  }

 private:
  bool check(esp_status status) {
    if (status != ESP_OK && result_.error.empty()) result_.error = std::string(error_.where) + ": " + error_.message;
    return status == ESP_OK;
  }

  bool start() {
    error_.struct_size = sizeof error_;
    void* library = dlopen(settings_.library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    const auto entry = reinterpret_cast<esp_entry_fn>(dlsym(library, ESP_ENTRY_SYMBOL));
    const esp_hello hello = {sizeof hello, ESP_ABI_MAJOR, ESP_ABI_MINOR, 0, ESP_SDK_HASH, "test"};
    const esp_plugin* plugin = nullptr;
    if (!check(entry(&hello, &plugin, &error_))) return false;
    const esp_component& component = *plugin->components[0];
    for (uint32_t i = 0; i < component.n_options; ++i) {
      values_.push_back(component.options[i]->def);
      const auto given = settings_.options.find(component.options[i]->key);
      if (given != settings_.options.end()) values_.back().v.u = given->second;
      const auto text = settings_.texts.find(component.options[i]->key);
      if (text != settings_.texts.end()) values_.back().v.s = text->second;
    }
    run_ = {sizeof run_, settings_.mode,          rank_, settings_.world,     settings_.device_kind,
            0,           settings_.n_micro,       1,     settings_.precision, 0,
            42,          settings_.budget_device, 0};
    config_ = {sizeof config_, component.n_options, values_.data(), &run_, nullptr, 0, 0};
    table_ = static_cast<const esp_strategy_v1*>(component.table(ESP_STRATEGY_ID));
    return check(component.create(&result_.host->host(), &config_, &self_, &error_));
  }

  bool prepare() {
    result_.plan.struct_size = sizeof result_.plan;
    if (!check(table_->plan(self_, &shown_.view(), &result_.plan, &error_))) return false;
    if (!check(table_->prepare(self_, &shown_.view(), &result_.host->binder(), &error_))) return false;
    if (!list(result_.shards)) return false;
    for (const ToyShard& shard : result_.shards) {
      if (shard.slot != "param") continue;
      for (uint64_t i = shard.lo; i < shard.hi; ++i)
        from_float(shard.data, i - shard.lo, shard.dtype, initial(shard.param, i));
    }
    return settings_.mistake == Mistake::kStaleAfterLoad || check(table_->state_loaded(self_, &error_));
  }

  bool list(std::vector<ToyShard>& out) {
    const auto add = [](void* ctx, const esp_shard* shard, esp_error*) -> esp_status {
      std::vector<float> values;
      for (uint64_t i = shard->lo; i < shard->hi; ++i)
        values.push_back(to_float(shard->data, i - shard->lo, shard->dtype));
      static_cast<std::vector<ToyShard>*>(ctx)->push_back({shard->param, shard->slot, shard->lo, shard->hi, shard->data,
                                                           shard->dtype, shard->flags, std::move(values)});
      return ESP_OK;
    };
    out.clear();
    const esp_shard_sink sink = {sizeof sink, 0, &out, add};
    const bool fine = check(table_->state(self_, &sink, &error_));
    if (settings_.mistake == Mistake::kOffsetDropped) {
      for (ToyShard& shard : out) shard.hi -= shard.lo, shard.lo = 0;
    }
    return fine;
  }

  bool adapts() const { return (result_.plan.caps & ESP_CAP_ADAPTS) != 0; }

  bool adapt() {
    MockHost& host = *result_.host;
    const std::vector<uint64_t> others(toy_.view().n_train, settings_.other_bytes);
    const uint64_t budget = settings_.budget_device;
    const uint64_t capacity = budget == 0 ? UINT64_MAX : budget - std::min(budget, settings_.other_bytes);
    const esp_profile profile = {sizeof profile, toy_.view().n_train, capacity, others.data()};
    list(result_.shards_before_adapt);
    result_.warmup_peak = host.peak;
    result_.adapt_ops[0] = host.ops.size();
    host.fork();
    const bool fine = check(table_->adapt(self_, &profile, &error_));
    host.join();
    result_.adapt_ops[1] = host.ops.size();
    return fine && list(result_.shards);
  }

  bool step(uint32_t index) {
    MockHost& host = *result_.host;
    result_.step_ops.push_back(host.ops.size());
    host.applied.clear();
    host.norms_finished = 0;
    host.fork();
    esp_step step = {};
    step.struct_size = sizeof step;
    step.index = index;
    step.variant = table_->variant ? table_->variant(self_, index) : 0;
    step.compute = host.compute();
    step.grads = host.grads();
    written_.clear();
    bool fine = table_->begin_step == nullptr || check(table_->begin_step(self_, &step, &error_));
    for (uint32_t pos = 0; fine && pos < toy_.view().n_train; ++pos) {
      const esp_item& item = toy_.view().train[pos];
      step.pos = pos;
      step.micro = item.micro;
      const bool forward = item.phase == ESP_FWD;
      fine = hook(forward ? table_->pre_forward : table_->pre_backward, step, item.unit);
      if (!fine) break;
      if (forward) {
        this->forward(item.unit, nullptr);
      } else {
        backward(item);
      }
      fine = fine && hook(forward ? table_->post_forward : table_->post_backward, step, item.unit);
    }
    fine = fine && (table_->end_pass == nullptr || check(table_->end_pass(self_, &step, &error_)));
    host.join();
    return fine;
  }

  bool evaluate() {
    MockHost& host = *result_.host;
    host.fork();
    esp_step step = {};
    step.struct_size = sizeof step;
    step.flags = ESP_STEP_EVAL;
    step.compute = step.grads = host.compute();
    bool fine = table_->begin_step == nullptr || check(table_->begin_step(self_, &step, &error_));
    Values& seen = result_.evaluated.emplace_back(Toy::kParams);
    for (uint32_t pos = 0; fine && pos < toy_.view().n_eval; ++pos) {
      step.pos = pos;
      fine = hook(table_->pre_forward, step, pos);
      if (fine) forward(pos, &seen);
      fine = fine && hook(table_->post_forward, step, pos);
    }
    host.join();
    return fine;
  }

  bool evaluate_again() {
    const Values before = result_.evaluated.back();
    const bool fine = evaluate();
    if (before != result_.evaluated.back()) result_.host->violations.push_back("evaluations differ without a step");
    result_.evaluated.pop_back();
    return fine;
  }

  // Reads the unit's weights on the compute stream; `seen` takes them.
  void forward(uint32_t number, Values* seen) {
    MockHost& host = *result_.host;
    const size_t op = host.add_op("forward " + std::to_string(number), host.compute());
    const esp_unit& unit = *toy_.view().units[number];
    for (uint32_t u = 0; u < unit.n_uses; ++u) {
      const uint64_t numel = toy_.view().params[unit.uses[u]]->numel;
      if (numel == 0) continue;
      const esp_bind& weights = host.params.at(unit.uses[u]);
      host.reads(op, weights.data, numel * ESP_DTYPE_BYTES(weights.dtype), host.compute());
      if (seen == nullptr) continue;
      std::vector<float>& values = (*seen)[unit.uses[u]];
      values.clear();
      for (uint64_t i = 0; i < numel; ++i) values.push_back(to_float(weights.data, i, weights.dtype));
    }
  }

  using Hook = esp_status (*)(void*, const esp_step*, uint32_t, esp_error*);
  bool hook(Hook hook, const esp_step& step, uint32_t unit) {
    return hook == nullptr || check(hook(self_, &step, unit, &error_));
  }

  // Data gradients, which read the weights, on the compute stream; weight gradients beside them, on a branch of it.
  void backward(const esp_item& item) {
    MockHost& host = *result_.host;
    const std::string name = std::to_string(item.unit) + " " + std::to_string(item.micro);
    host.grads()->seen.insert(host.compute()->seen);
    const size_t gradients = host.add_op("gradients " + name, host.grads());
    const size_t data = host.add_op("backward " + name, host.compute());
    const esp_unit& unit = *toy_.view().units[item.unit];
    const uint64_t micro = item.micro * static_cast<uint64_t>(settings_.world) + static_cast<uint64_t>(rank_);
    for (uint32_t u = 0; u < unit.n_uses; ++u) {
      const uint32_t param = unit.uses[u];
      const uint64_t numel = toy_.view().params[param]->numel;
      if (numel == 0) continue;
      if (param == Toy::kUnused && settings_.mistake == Mistake::kUnusedNotWritten) continue;
      const esp_bind& weights = host.params.at(param);
      host.reads(data, weights.data, numel * ESP_DTYPE_BYTES(weights.dtype), host.compute());
      const auto bound = host.gradients.find(param);
      if (bound == host.gradients.end()) continue;
      host.writes(gradients, bound->second.data, numel * ESP_DTYPE_BYTES(bound->second.dtype), host.grads());
      const bool first = bound->second.mode == ESP_WRITE_NOW ? host.unwritten.erase(param) > 0
                                                             : written_.insert(param).second;  // EACH_PASS
      for (uint64_t i = 0; i < toy_.view().params[param]->numel; ++i) {
        const float weight = to_float(weights.data, i, weights.dtype);
        float value = contribution(param, i, item.unit, micro, weight, 1.0f / static_cast<float>(settings_.n_micro));
        if (!first) value = to_float(bound->second.data, i, bound->second.dtype) + rounded(value, bound->second.dtype);
        from_float(bound->second.data, i, bound->second.dtype, value);
      }
    }
  }

  void read_weights() {
    result_.weights.resize(Toy::kParams);
    for (const auto& [param, bind] : result_.host->params) {
      for (uint64_t i = 0; i < toy_.view().params[param]->numel; ++i) {
        result_.weights[param].push_back(to_float(bind.data, i, bind.dtype));
      }
    }
  }

  const ToySettings& settings_;
  const Toy toy_, shown_;  // shown: to the strategy
  const int rank_;
  ToyRank result_;
  std::vector<esp_value> values_;
  esp_run run_{};
  esp_config config_{};
  const esp_strategy_v1* table_ = nullptr;
  void* self_ = nullptr;
  esp_error error_{};
  std::set<uint32_t> written_;  // gradients, in this pass
};

}  // namespace

Toy::Toy(uint32_t n_micro, bool tied, bool early) {
  static const int64_t shapes[kParams][2] = {{50, 3}, {13, 40}, {0, 4},   {20, 17}, {9, 30},
                                             {30, 7}, {40, 11}, {30, 11}, {20, 10}};
  static const char* const names[kParams] = {"embedding", "weight", "empty", "frozen", "weight2",
                                             "unused",    "head",   "tied",  "orphan"};
  for (uint32_t id = 0; id < kParams; ++id) {
    const uint32_t flags = id == kFrozen ? 0 : ESP_PARAM_TRAINABLE;
    const uint64_t numel = static_cast<uint64_t>(shapes[id][0] * shapes[id][1]);
    params_.push_back({sizeof(esp_param), id, names[id], shapes[id], 2, flags, numel, 0, 0});
    param_list_.push_back(&params_.back());
  }
  uses_ = {{kEmbedding}, {kWeight, kEmpty}, {kFrozen, kWeight2, kUnused}, {kHead}};
  if (tied) {
    if (!early) uses_.front().push_back(kTied);
    uses_.back().push_back(kTied);
  }
  for (const auto& uses : uses_) {
    units_.push_back({sizeof(esp_unit), 0, "unit", uses.data(), static_cast<uint32_t>(uses.size()), 0});
    unit_list_.push_back(&units_.back());
  }
  const uint32_t n_units = static_cast<uint32_t>(units_.size());
  for (uint32_t micro = 0; micro < n_micro; ++micro) {
    for (uint32_t unit = 0; unit < n_units; ++unit) train_.push_back({ESP_FWD, unit, micro, 0});
    for (uint32_t unit = n_units; unit-- > 0;) train_.push_back({ESP_BWD, unit, micro, 0});
  }
  for (uint32_t unit = 0; unit < n_units; ++unit) eval_.push_back({ESP_FWD, unit, 0, 0});
  view_ = {sizeof view_,
           kParams,
           n_units,
           static_cast<uint32_t>(train_.size()),
           static_cast<uint32_t>(eval_.size()),
           0,
           param_list_.data(),
           unit_list_.data(),
           train_.data(),
           eval_.data()};
}

std::vector<ToyRank> train(const ToySettings& settings) {
  MockWorld world(settings.world);
  std::vector<ToyRank> results(static_cast<size_t>(settings.world));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < settings.world; ++rank) {
    threads.emplace_back([&, rank] { results[static_cast<size_t>(rank)] = Rank(settings, world, rank).run(); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

namespace {

// One rank of the oracle: weights as the optimizer has them and as the model sees them, gradients, momentum.
struct OracleRank {
  Values masters, weights, grads, momentum;
};

// Of micro-batches [first_micro, end_micro).
void oracle_backward(OracleRank& rank, const Toy& toy, const ToySettings& settings, int number, esp_dtype dtype,
                     uint32_t first_micro, uint32_t end_micro) {
  std::set<uint32_t> written;
  for (uint32_t pos = 0; pos < toy.view().n_train; ++pos) {
    const esp_item& item = toy.view().train[pos];
    if (item.phase == ESP_FWD || item.micro < first_micro || item.micro >= end_micro) continue;
    const esp_unit& unit = *toy.view().units[item.unit];
    const uint64_t micro = item.micro * static_cast<uint64_t>(settings.world) + static_cast<uint64_t>(number);
    for (uint32_t u = 0; u < unit.n_uses; ++u) {
      const uint32_t param = unit.uses[u];
      const bool first = written.insert(param).second;
      for (uint64_t i = 0; i < rank.grads[param].size(); ++i) {
        const float value = rounded(contribution(param, i, item.unit, micro, rank.weights[param][i],
                                                 1.0f / static_cast<float>(settings.n_micro)),
                                    dtype);
        rank.grads[param][i] = first ? value : rounded(rank.grads[param][i] + value, dtype);
      }
    }
  }
}

// The mean over ranks of one of their arrays, rounded once.
void oracle_average(std::vector<OracleRank>& ranks, Values OracleRank::*array, esp_dtype dtype) {
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    for (uint64_t i = 0; i < (ranks[0].*array)[param].size(); ++i) {
      float sum = (ranks[0].*array)[param][i];
      for (size_t r = 1; r < ranks.size(); ++r) sum += (ranks[r].*array)[param][i];
      for (OracleRank& rank : ranks) (rank.*array)[param][i] = rounded(sum / static_cast<float>(ranks.size()), dtype);
    }
  }
}

// Gradients of a step: ranks are averaged micro-batch by micro-batch and added up, in fp32 where there are several.
void oracle_reduce_each(std::vector<OracleRank>& ranks, const Toy& toy, const ToySettings& settings, esp_dtype dtype) {
  Values sum = ranks[0].grads;
  for (uint32_t micro = 0; micro < settings.n_micro; ++micro) {
    for (int r = 0; r < settings.world; ++r) {
      oracle_backward(ranks[static_cast<size_t>(r)], toy, settings, r, dtype, micro, micro + 1);
    }
    oracle_average(ranks, &OracleRank::grads, dtype);
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      for (size_t i = 0; i < sum[param].size(); ++i) {
        const float value = ranks[0].grads[param][i];
        sum[param][i] = micro == 0 ? value : sum[param][i] + value;
      }
    }
  }
  for (OracleRank& rank : ranks) rank.grads = sum;
}

}  // namespace

Values oracle(const ToySettings& settings, uint32_t period, Addition addition) {
  const Toy toy(settings.n_micro, settings.tied);
  const esp_dtype dtype = settings.precision == ESP_PRECISION_BF16 ? ESP_BF16 : ESP_F32;
  const float factor = settings.update.momentum ? kMomentum : 0.0f;
  std::vector<OracleRank> ranks(static_cast<size_t>(settings.world));
  const auto refresh = [&](OracleRank& rank, uint32_t param) {
    for (size_t i = 0; i < rank.masters[param].size(); ++i)
      rank.weights[param][i] = rounded(rank.masters[param][i], dtype);
  };
  for (OracleRank& rank : ranks) {
    rank.masters.resize(Toy::kParams);
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      for (uint64_t i = 0; i < toy.view().params[param]->numel; ++i) rank.masters[param].push_back(initial(param, i));
    }
    rank.weights = rank.grads = rank.momentum = rank.masters;
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      rank.grads[param].assign(rank.grads[param].size(), 0.0f);
      rank.momentum[param] = rank.grads[param];
      refresh(rank, param);
    }
  }
  for (uint32_t step = 0; step < settings.steps; ++step) {
    if (addition == Addition::kRanksThenMicros) {
      oracle_reduce_each(ranks, toy, settings, dtype);
    } else {
      for (int r = 0; r < settings.world; ++r) {
        oracle_backward(ranks[static_cast<size_t>(r)], toy, settings, r, dtype, 0, settings.n_micro);
      }
      if (period == 0) oracle_average(ranks, &OracleRank::grads, dtype);
    }
    for (OracleRank& rank : ranks) {
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        for (size_t i = 0; toy.trainable(param) && i < rank.masters[param].size(); ++i) {
          rank.momentum[param][i] = rank.grads[param][i] + factor * rank.momentum[param][i];
          rank.masters[param][i] -= kRate * rank.momentum[param][i];
        }
        refresh(rank, param);
      }
    }
    if (period != 0 && (step + 1) % period == 0) {
      oracle_average(ranks, &OracleRank::masters, ESP_F32);
      for (OracleRank& rank : ranks) {
        for (uint32_t param = 0; param < Toy::kParams; ++param) refresh(rank, param);
      }
    }
  }
  return ranks[0].weights;
}
