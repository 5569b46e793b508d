// Steps and evaluations.
#include <algorithm>
#include <cmath>
#include <memory>
#include <sstream>

#include "verify/element.hpp"
#include "verify/world.hpp"

namespace esp::verify {
namespace {

// A gradient that a unit's backward writes.
struct GradientUse {
  esp_bind weights, gradient;
  bool first;  // overwrites
  std::vector<double> values;
};

using Hook = esp_status (*)(void*, const esp_step*, uint32_t, esp_error*);

// How far a value may be from the oracle's: rounding, and what it grows to in a few steps.
double tolerance(esp_dtype compute, esp_dtype gradient) {
  return 8 * std::max(epsilon(compute), epsilon(gradient) / 8) + 2e-6;
}

}  // namespace

template <class Function>
bool World::hook(Rank& rank, const char* name, const Function& function) {
  const auto begin = std::chrono::steady_clock::now();
  const bool fine = !rank.host->call(Role::kStep, name, function);
  hook_cost_.spent += std::chrono::steady_clock::now() - begin;
  ++hook_cost_.calls;
  return fine;
}

bool World::run_unit(Rank& rank, esp_step& step, const esp_item& item, bool training) {
  RankHost& host = *rank.host;
  const bool is_forward = item.phase == ESP_FWD;
  const auto unit_hook = [&](const char* name, Hook function) {
    host.here.call = name;
    if (function == nullptr) return true;
    return hook(rank, name, [&](esp_error* error) { return function(rank.self, &step, item.unit, error); });
  };
  host.here.unit = item.unit;
  host.here.pos = step.pos;
  step.micro = item.micro;
  if (!unit_hook(is_forward ? "pre_forward" : "pre_backward", is_forward ? table_.pre_forward : table_.pre_backward))
    return false;
  host.here.call = is_forward ? "forward_unit" : "backward_unit";
  check_unit(rank, item.unit, training && !is_forward);
  if (is_forward) {
    forward(rank, item, training);
  } else {
    backward(rank, item);
  }
  const bool fine =
      unit_hook(is_forward ? "post_forward" : "post_backward", is_forward ? table_.post_forward : table_.post_backward);
  host.here.unit = host.here.pos = -1;
  return fine;
}

void World::check_unit(Rank& rank, uint32_t unit, bool training) {
  RankHost& host = *rank.host;
  std::vector<std::pair<const char*, const char*>> ranges;
  const auto add = [&](const esp_bind& bind) {
    const auto* begin = static_cast<const char*>(bind.data);
    ranges.emplace_back(begin, begin + toy_.numel(bind.param) * ESP_DTYPE_BYTES(bind.dtype));
  };
  for (uint32_t param : toy_.uses(unit)) {
    if (toy_.numel(param) == 0) continue;
    const auto bound = host.params.find(param);
    if (bound == host.params.end()) {
      host.found("BIND-01", param_text(toy_, param) + " is not bound");
    } else {
      add(bound->second);
    }
    if (!training || !toy_.trainable(param)) continue;
    const auto gradient = host.gradients.find(param);
    if (gradient == host.gradients.end()) {
      host.found("BIND-02", "the gradient of " + param_text(toy_, param) + " is not bound");
    } else {
      add(gradient->second);
    }
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) host.found("BIND-04", "two binds of the unit overlap");
  }
}

void World::compare_weights(Rank& rank, uint32_t param, const esp_bind& bind, const Where& where, bool training) {
  auto& seen = rank.seen;
  seen.resize(Toy::kParams);
  seen[param].resize(toy_.numel(param));
  const double room = tolerance(bind.dtype, plan().grad_t);
  for (uint64_t i = 0; i < toy_.numel(param); ++i) {
    const double value = load(bind.data, i, bind.dtype), expected = oracle_.weights[param][i];
    seen[param][i] = value;
    if (!std::isfinite(value)) {
      findings_.add("NUM-05", param_text(toy_, param) + ", element " + std::to_string(i) + " is not finite", where);
      return;
    }
    if (!scenario_.compare || std::fabs(value - expected) <= room * (1 + std::fabs(expected))) continue;
    std::ostringstream text;
    text << param_text(toy_, param) << ", element " << i << " is " << value << ", should be " << expected;
    findings_.add(training ? "NUM-01" : "EVAL-01", text.str(), where);
    return;
  }
}

void World::forward(Rank& rank, const esp_item& item, bool training) {
  RankHost& host = *rank.host;
  const Where where = host.here;
  std::vector<esp_bind> binds;
  for (uint32_t param : toy_.uses(item.unit)) {
    const auto bound = host.params.find(param);
    if (bound != host.params.end()) binds.push_back(bound->second);
  }
  std::ostringstream name;
  name << "forward of unit " << item.unit;
  for (const esp_bind& bind : binds) name << " " << bind.data;
  const size_t op = host.enqueue(name.str(), host.compute(), [this, &rank, binds, where, training] {
    Where now = where;
    now.step = static_cast<int64_t>(index_);
    for (const esp_bind& bind : binds) compare_weights(rank, bind.param, bind, now, training);
  });
  for (const esp_bind& bind : binds) {
    host.reads(op, bind.data, toy_.numel(bind.param) * ESP_DTYPE_BYTES(bind.dtype), host.compute());
  }
}

// What flows back is computed on the compute stream, from the weights; gradients of weights beside it, on a branch. As
// in real models they do not read the weights themselves.
void World::backward(Rank& rank, const esp_item& item) {
  RankHost& host = *rank.host;
  auto uses = std::make_shared<std::vector<GradientUse>>();
  std::ostringstream name;
  name << "backward of unit " << item.unit << ", micro-batch " << item.micro;
  for (uint32_t param : toy_.uses(item.unit)) {
    const auto weights = host.params.find(param), gradient = host.gradients.find(param);
    if (weights == host.params.end() || gradient == host.gradients.end()) continue;
    const bool now = gradient->second.mode == ESP_WRITE_NOW;
    const bool first = now ? host.armed.erase(param) > 0 : written_.insert(param).second;
    uses->push_back({weights->second, gradient->second, first, {}});
    name << " " << weights->second.data << ">" << gradient->second.data;
  }
  const size_t flow = host.enqueue("flow of " + name.str(), host.compute(), [this, &rank, uses, item] {
    for (GradientUse& use : *uses) use.values = gradient_values(rank, item, use.weights);
  });
  host.order(host.compute(), host.grads());
  const size_t data = host.enqueue("data " + name.str(), host.compute(), {});
  const size_t op = host.enqueue(name.str(), host.grads(), [uses] {
    for (const GradientUse& use : *uses) {
      const esp_bind& out = use.gradient;
      for (uint64_t i = 0; i < use.values.size(); ++i) {
        const double before = use.first ? 0 : load(out.data, i, out.dtype);
        store(out.data, i, out.dtype, use.first ? use.values[i] : before + rounded(use.values[i], out.dtype));
      }
    }
  });
  for (const GradientUse& use : *uses) {
    const uint64_t numel = toy_.numel(use.weights.param);
    for (size_t reader : {flow, data}) {
      host.reads(reader, use.weights.data, numel * ESP_DTYPE_BYTES(use.weights.dtype), host.compute());
    }
    host.writes(op, use.gradient.data, numel * ESP_DTYPE_BYTES(use.gradient.dtype), host.grads());
  }
}

std::vector<double> World::gradient_values(const Rank& rank, const esp_item& item, const esp_bind& weights) const {
  const int number = rank.run.rank;
  const double seed = rank.host->scalars.loss_scale * scenario_.world / oracle_.samples();
  const bool overflows = number == 0 && static_cast<int64_t>(index_) == scenario_.overflow_step;
  std::vector<double> values(toy_.numel(weights.param));
  for (uint64_t i = 0; i < values.size(); ++i) {
    const double weight = load(weights.data, i, weights.dtype);
    values[i] = seed * oracle_.part(number, item.micro, weights.param, i, item.unit, weight);
    if (overflows && i == 0 && weights.param == Toy::kHead) values[i] = HUGE_VAL;
  }
  return values;
}

bool World::record_step(Rank& rank, uint64_t index, uint32_t variant, uint32_t flags) {
  RankHost& host = *rank.host;
  esp_step step{};
  step.struct_size = sizeof step;
  step.flags = flags;
  step.index = index;
  step.variant = variant;
  step.compute = host.compute();
  step.grads = host.grads();
  written_.clear();
  host.training = true;
  bool fine = table_.begin_step == nullptr ||
              hook(rank, "begin_step", [&](esp_error* error) { return table_.begin_step(rank.self, &step, error); });
  for (uint32_t pos = 0; fine && pos < toy_.view().n_train; ++pos) {
    step.pos = pos;
    fine = run_unit(rank, step, toy_.view().train[pos], true);
  }
  fine = fine && (table_.end_pass == nullptr ||
                  hook(rank, "end_pass", [&](esp_error* error) { return table_.end_pass(rank.self, &step, error); }));
  host.training = false;
  return fine;
}

bool World::step() {
  if (adapts() && is_warm() && !adapt()) return false;
  const uint32_t variant = begin_step();
  Graph& graph = graphs_[variant];
  const bool replayed = scenario_.capture && !graph.work.empty();
  const bool captured = scenario_.capture && !replayed && graph.eager > 0;
  std::vector<std::vector<Op>> work;
  ++segment_;
  for (auto& rank : ranks_) {
    if (replayed) {
      rank->host->here.call = "replay";
      continue;
    }
    rank->host->fork(segment_);
    if (!record_step(*rank, index_, variant, captured ? ESP_STEP_CAPTURING : 0)) return false;
    work.push_back(rank->host->ops);
  }
  if (!replayed) check_coverage();
  const bool fine = execute(replayed ? graph.work : work, scenario_.order, random_, findings_);
  check_step();
  if (!replayed) compare_calls(graph, work);
  ++graph.eager;
  if (captured) graph.work = std::move(work);
  ++index_;
  return fine;
}

// The variant of the step, which all ranks choose alike.
uint32_t World::begin_step() {
  std::vector<uint32_t> variants;
  for (auto& rank : ranks_) {
    rank->host->here.step = static_cast<int64_t>(index_);
    rank->host->role = Role::kMain;
    variants.push_back(table_.variant == nullptr ? 0 : table_.variant(rank->self, index_));
    rank->host->role = Role::kIdle;
    rank->host->here.call = "variant";
    if (variants.back() >= 16) rank->host->found("HOOK-06", "variant " + std::to_string(variants.back()));
    if (variants.back() != variants.front())
      rank->host->found("COMM-01", "ranks disagree about the variant of the step");
    rank->host->scalars.loss_scale = static_cast<float>(scaler_.scale);
    rank->host->step = {};
  }
  return variants.front();
}

// With those of the step before of the same variant.
void World::compare_calls(Graph& graph, const std::vector<std::vector<Op>>& work) {
  std::vector<std::vector<std::string>> names(work.size());
  for (size_t r = 0; r < work.size(); ++r) {
    for (const Op& op : work[r]) names[r].push_back(op.name);
  }
  for (size_t r = 0; graph.eager > 0 && r < names.size(); ++r) {
    const std::vector<std::string>&now = names[r], &before = graph.names[r];
    if (now == before) continue;
    const auto differs = std::mismatch(now.begin(), now.end(), before.begin(), before.end()).first;
    const auto at = static_cast<size_t>(differs - now.begin());
    findings_.add("CAP-01",
                  "call number " + std::to_string(at) + " is " + (at < now.size() ? now[at] : "missing") + ", was " +
                      (at < before.size() ? before[at] : "none"),
                  at < work[r].size() ? work[r][at].where : ranks_[r]->host->here);
  }
  graph.names = std::move(names);
}

void World::check_step() {
  RankHost& first = *ranks_.front()->host;
  const bool skips = first.has_barrier();
  const bool skipped = skips && first.step.overflow;
  for (auto& rank : ranks_) {
    if (skips && rank->host->step.overflow != first.step.overflow) {
      rank->host->found("NUM-06", "this rank and rank 0 disagree about skipping the step");
    }
    if (!skipped) rank->host->scalars.applied_steps += 1;
    rank->host->scalars.step = index_ + 1;
  }
  if (static_cast<int64_t>(index_) == scenario_.overflow_step && skips && !skipped) {
    first.found("NUM-06", "an infinite gradient on rank 0 did not reach the norm");
  }
  oracle_.step(skipped);
  if (!skipped && scenario_.compare) check_norm();
  scaler_.advance(skipped);
}

void World::check_norm() {
  const double room = 4 * epsilon(plan().grad_t) + 1e-6;
  for (auto& rank : ranks_) {
    const RankHost::Step& step = rank->host->step;
    if (std::fabs(step.norm - oracle_.norm()) <= room * oracle_.norm()) continue;
    std::ostringstream text;
    text << "the norm is " << step.norm << ", should be " << oracle_.norm();
    rank->host->found("NUM-02", text.str());
  }
}

void World::check_coverage() {
  RankHost& first = *ranks_.front()->host;
  uint64_t trainable = 0, in_norm = 0;
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    if (!toy_.trainable(param) || toy_.numel(param) == 0) continue;
    trainable += toy_.numel(param);
    std::vector<uint32_t> times(toy_.numel(param));
    for (auto& rank : ranks_) {
      const auto applied = rank->host->step.applied.find(param);
      for (uint64_t i = 0; applied != rank->host->step.applied.end() && i < times.size(); ++i) {
        times[i] += applied->second[i];
        if (applied->second[i] > 1)
          rank->host->found(
              "UPD-01", param_text(toy_, param) + ", element " + std::to_string(i) + " is updated twice on one rank");
      }
    }
    for (uint64_t i = 0; i < times.size(); ++i) {
      const auto world = static_cast<uint32_t>(scenario_.world);
      if (times[i] > 0 && world % times[i] == 0 && times[i] == times[0]) continue;
      first.here.rank = -1;
      first.found("UPD-01", param_text(toy_, param) + ", element " + std::to_string(i) + " is updated " +
                                std::to_string(times[i]) + " times over all ranks");
      first.here.rank = 0;
      break;
    }
  }
  for (auto& rank : ranks_) {
    in_norm += rank->host->step.norm_elements;
    if (rank->host->step.norms_finished != 1) {
      rank->host->found("UPD-04",
                        "norm_finish was called " + std::to_string(rank->host->step.norms_finished) + " times");
    }
  }
  if (in_norm % trainable != 0 || in_norm == 0 || static_cast<uint64_t>(scenario_.world) % (in_norm / trainable) != 0) {
    first.found("UPD-04", std::to_string(in_norm) + " elements entered the norm over all ranks; " +
                              std::to_string(trainable) + " are trainable");
  }
}

bool World::evaluate() {
  ++segment_;
  for (auto& rank : ranks_) {
    rank->host->fork(segment_);
    if (!record_evaluation(*rank)) return false;
  }
  return drain();
}

bool World::record_evaluation(Rank& rank) {
  RankHost& host = *rank.host;
  esp_step step{};
  step.struct_size = sizeof step;
  step.flags = ESP_STEP_EVAL;
  step.index = index_;
  step.compute = step.grads = host.compute();
  bool fine = table_.begin_step == nullptr ||
              hook(rank, "begin_step", [&](esp_error* error) { return table_.begin_step(rank.self, &step, error); });
  for (uint32_t pos = 0; fine && pos < toy_.view().n_eval; ++pos) {
    step.pos = pos;
    fine = run_unit(rank, step, toy_.view().eval[pos], false);
  }
  return fine;
}

}  // namespace esp::verify
