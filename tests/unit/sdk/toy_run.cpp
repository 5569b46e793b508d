#include "toy_run.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>

namespace {

// A gradient that a unit's backward writes.
struct GradientUse {
  uint32_t param;
  esp_bind weights, gradient;
  bool first;  // overwrites
  std::vector<float> values;
};

class Rank {
 public:
  Rank(const ToySettings& settings, MockWorld& world, int rank)
      : settings_(settings),
        toy_(settings.n_micro, settings.tied),
        shown_(settings.n_micro, settings.tied, settings.mistake == Mistake::kTiedReducedEarly),
        rank_(rank) {
    result_.host = std::make_unique<MockHost>(world, rank, settings.update);
    result_.host->mistake = settings.mistake;
    result_.host->on_threads = settings.on_threads;
    result_.host->swallowed_waits = settings.swallowed_waits;
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      if (toy_.trainable(param)) result_.host->trained_elements += toy_.view().params[param]->numel;
    }
  }

  ToyRank run() {
    if (start() && prepare()) {
      bool fine = evaluate();
      for (uint32_t i = 0; fine && i < settings_.steps; ++i) {
        const bool evaluates = (i + 1) % settings_.evaluate_every == 0;
        fine = (settings_.mode == ESP_MODE_INFER || step(i)) && (!evaluates || evaluate());
        if (fine && adapts() && i + 1 == result_.plan.warmup_steps) fine = adapt() && (!evaluates || evaluate_again());
        fine = fine && (!evaluates || i % 2 == 0 || evaluate_again());
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
    result_.host->set_scaler(result_.plan);
    if (!check(table_->prepare(self_, &shown_.view(), &result_.host->binder(), &error_))) return false;
    if (!list(result_.shards)) return false;
    for (const ToyShard& shard : result_.shards) {
      const auto loaded = settings_.loaded.find(shard.slot);
      if (loaded == settings_.loaded.end() && shard.slot != "param") continue;
      for (uint64_t i = shard.lo; i < shard.hi; ++i) {
        const bool is_initial = loaded == settings_.loaded.end();
        from_float(shard.data, i - shard.lo, shard.dtype,
                   is_initial ? Toy::initial(shard.param, i) : loaded->second[shard.param][i]);
      }
    }
    result_.host->now = "state_loaded";
    const bool fine = settings_.mistake == Mistake::kStaleAfterLoad || check(table_->state_loaded(self_, &error_));
    result_.host->sync();
    return fine;
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
    host.now = "adapt";
    const bool fine = check(table_->adapt(self_, &profile, &error_));
    eager_.clear();  // only what comes behind it can be captured
    captured_.clear();
    host.join();
    result_.adapt_ops[1] = host.ops.size();
    return fine && list(result_.shards);
  }

  // Runs a step's hooks and its work, or its work alone when steps of its kind were captured.
  bool step(uint32_t index) {
    MockHost& host = *result_.host;
    result_.step_ops.push_back(host.ops.size());
    // A strategy that notes in a hook what it should note in `variant` knows one kind of steps and hears of no replay.
    const bool deaf = settings_.mistake == Mistake::kNotedInHook;
    if (!deaf || captured_.count(0) == 0) variant_ = table_->variant ? table_->variant(self_, index) : 0;
    const uint32_t kind = deaf ? 0 : variant_;
    index_ = index;
    host.begin_numbers();
    bool fine = true;
    if (captured_.count(kind) != 0) {
      host.replay(captured_[kind]);
      ++result_.replays;
    } else {
      const bool captures = settings_.capture && eager_.count(kind) != 0;
      fine = record(index, captures);
      const MockHost::Segment segment = host.join();
      if (captures) captured_[kind] = segment;
      eager_.insert(kind);
    }
    host.end_numbers();
    return fine;
  }

  bool record(uint32_t index, bool captures) {
    MockHost& host = *result_.host;
    host.applied.clear();
    host.norms_finished = 0;
    host.fork();
    esp_step step = {};
    step.struct_size = sizeof step;
    step.flags = captures ? ESP_STEP_CAPTURING : 0;
    step.index = index;
    step.variant = variant_;
    step.compute = host.compute();
    step.grads = host.grads();
    written_.clear();
    host.now = "begin_step";
    bool fine = table_->begin_step == nullptr || check(table_->begin_step(self_, &step, &error_));
    for (uint32_t pos = 0; fine && pos < toy_.view().n_train; ++pos) {
      const esp_item& item = toy_.view().train[pos];
      step.pos = pos;
      step.micro = item.micro;
      const bool forward = item.phase == ESP_FWD;
      fine = forward ? hook("pre_forward", table_->pre_forward, step, item.unit)
                     : hook("pre_backward", table_->pre_backward, step, item.unit);
      if (!fine) break;
      if (forward) {
        this->forward(item.unit, nullptr);
      } else {
        backward(item);
      }
      fine = forward ? hook("post_forward", table_->post_forward, step, item.unit)
                     : hook("post_backward", table_->post_backward, step, item.unit);
    }
    host.now = "end_pass";
    return fine && (table_->end_pass == nullptr || check(table_->end_pass(self_, &step, &error_)));
  }

  bool evaluate() {
    MockHost& host = *result_.host;
    host.fork();
    esp_step step = {};
    step.struct_size = sizeof step;
    step.flags = ESP_STEP_EVAL;
    step.compute = step.grads = host.compute();
    host.now = "begin_step of an evaluation";
    bool fine = table_->begin_step == nullptr || check(table_->begin_step(self_, &step, &error_));
    Values& seen = result_.evaluated.emplace_back(Toy::kParams);
    for (uint32_t pos = 0; fine && pos < toy_.view().n_eval; ++pos) {
      step.pos = pos;
      fine = hook("pre_forward of an evaluation", table_->pre_forward, step, pos);
      if (fine) forward(pos, &seen);
      fine = fine && hook("post_forward of an evaluation", table_->post_forward, step, pos);
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
    const std::vector<esp_bind> binds = weights_of(number);
    const size_t op = host.enqueue("forward " + std::to_string(number), host.compute(), [this, binds, seen] {
      for (const esp_bind& bind : binds) {
        std::vector<float> values = read(bind);
        if (seen != nullptr) (*seen)[bind.param] = std::move(values);
      }
    });
    read_by(op, binds);
  }

  // Of the parameters of a unit that have elements.
  std::vector<esp_bind> weights_of(uint32_t number) const {
    const esp_unit& unit = *toy_.view().units[number];
    std::vector<esp_bind> binds;
    for (uint32_t u = 0; u < unit.n_uses; ++u) {
      if (toy_.numel(unit.uses[u]) == 0) continue;
      const auto bound = result_.host->params.find(unit.uses[u]);
      if (bound != result_.host->params.end()) {
        binds.push_back(bound->second);
      } else {
        result_.host->violations.push_back("parameter " + std::to_string(unit.uses[u]) + " is not bound");
      }
    }
    return binds;
  }
  void read_by(size_t op, const std::vector<esp_bind>& weights) {
    MockHost& host = *result_.host;
    for (const esp_bind& bind : weights) {
      host.reads(op, bind.data, toy_.numel(bind.param) * ESP_DTYPE_BYTES(bind.dtype), host.compute());
    }
  }
  std::vector<float> read(const esp_bind& weights) const {
    std::vector<float> values(toy_.numel(weights.param));
    for (uint64_t i = 0; i < values.size(); ++i) values[i] = to_float(weights.data, i, weights.dtype);
    return values;
  }

  using Hook = esp_status (*)(void*, const esp_step*, uint32_t, esp_error*);
  bool hook(const char* name, Hook hook, const esp_step& step, uint32_t unit) {
    result_.host->now = std::string(name) + "(" + std::to_string(unit) + "), micro " + std::to_string(step.micro);
    return hook == nullptr || check(hook(self_, &step, unit, &error_));
  }

  // What flows back is computed on the compute stream, from the weights; gradients of weights beside it, on a branch.
  void backward(const esp_item& item) {
    MockHost& host = *result_.host;
    const std::string name = std::to_string(item.unit) + " " + std::to_string(item.micro);
    const std::vector<esp_bind> weights = weights_of(item.unit);
    const auto uses = std::make_shared<std::vector<GradientUse>>(gradients_of(weights));
    const size_t flow = host.enqueue("flow " + name, host.compute(), [this, uses, item] {
      for (GradientUse& use : *uses) use.values = contributions(use, item);
    });
    host.grads()->seen.insert(host.compute()->seen);
    host.grads()->before.push_back(flow);
    const size_t gradients = host.enqueue("gradients " + name, host.grads(), [uses] {
      for (const GradientUse& use : *uses) {
        const esp_bind& out = use.gradient;
        for (uint64_t i = 0; i < use.values.size(); ++i) {
          const float value = rounded(use.values[i], out.dtype);
          from_float(out.data, i, out.dtype, use.first ? value : to_float(out.data, i, out.dtype) + value);
        }
      }
    });
    const size_t data = host.enqueue("backward " + name, host.compute(), [this, weights] {
      for (const esp_bind& bind : weights) read(bind);
    });
    read_by(flow, weights);
    read_by(data, weights);
    for (const GradientUse& use : *uses) {
      host.writes(gradients, use.gradient.data, toy_.numel(use.param) * ESP_DTYPE_BYTES(use.gradient.dtype),
                  host.grads());
    }
  }

  std::vector<GradientUse> gradients_of(const std::vector<esp_bind>& weights) {
    MockHost& host = *result_.host;
    std::vector<GradientUse> uses;
    for (const esp_bind& bind : weights) {
      const auto bound = host.gradients.find(bind.param);
      if (bound == host.gradients.end()) continue;
      const bool now = bound->second.mode == ESP_WRITE_NOW;
      const bool first = now ? host.unwritten.erase(bind.param) > 0 : written_.insert(bind.param).second;
      uses.push_back({bind.param, bind, bound->second, first, {}});
    }
    return uses;
  }

  std::vector<float> contributions(const GradientUse& use, const esp_item& item) const {
    std::vector<float> values = read(use.weights);
    // What the model forgets to write must not pass for zero.
    const bool forgotten = use.param == Toy::kUnused && settings_.mistake == Mistake::kUnusedNotWritten;
    const uint64_t micro = item.micro * static_cast<uint64_t>(settings_.world) + static_cast<uint64_t>(rank_);
    const float seed = result_.host->loss_scale() / static_cast<float>(settings_.n_micro);
    for (uint64_t i = 0; i < values.size(); ++i) {
      values[i] = forgotten ? NAN : Toy::contribution(use.param, i, item.unit, micro, values[i], seed);
    }
    if (use.param == Toy::kHead && settings_.overflows.count({index_, rank_}) != 0) values[0] = HUGE_VALF;
    return values;
  }

  void read_weights() {
    result_.weights.resize(Toy::kParams);
    for (const auto& [param, bind] : result_.host->params) {
      result_.weights[param] = read(bind);
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
  std::set<uint32_t> written_;                      // gradients, in this pass
  uint32_t index_ = 0;                              // of the step
  uint32_t variant_ = 0;                            // of the step
  std::set<uint32_t> eager_;                        // kinds of steps that ran so
  std::map<uint32_t, MockHost::Segment> captured_;  // by kind of step
};

}  // namespace

float Toy::initial(uint32_t param, uint64_t i) {
  return 0.5f + 0.01f * static_cast<float>(param) + 0.001f * static_cast<float>(i);
}

float Toy::contribution(uint32_t param, uint64_t i, uint32_t unit, uint64_t micro, float weight, float seed) {
  if (param == Toy::kUnused) return 0.0f;
  const float data = std::sin(static_cast<float>(param * 7 + i * 3 + unit * 5) + 1.7f * static_cast<float>(micro));
  return (0.25f * data + 0.5f * weight) * seed;
}

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
