#include "verify/world.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <semaphore>
#include <sstream>
#include <thread>

#include "modules/adopt.hpp"
#include "verify/element.hpp"

namespace esp::verify {
namespace {

// A rank's thread during a call of the main role: it stops where it waits for the others.
struct Turn {
  std::binary_semaphore go{0}, back{0};
  bool done = false;
  std::thread thread;
};
thread_local Turn* t_turn = nullptr;  // of the rank that runs on this thread

void meet(int) {
  if (t_turn == nullptr) return;
  t_turn->back.release();
  t_turn->go.acquire();
}

}  // namespace

World::World(const ModuleComponent& component, const OptionSet& options, const Scenario& scenario, Findings& findings)
    : component_(component),
      options_(options),
      scenario_(scenario),
      findings_(findings),
      toy_(scenario.n_micro),
      oracle_(toy_, scenario.optimizer, scenario.world, scenario.n_micro, scenario.same_samples),
      random_(scenario.seed) {
  table_ = adopt<esp_strategy_v1>(component.component.table(ESP_STRATEGY_ID));
  for (int number = 0; number < scenario.world; ++number) {
    RankSettings settings;
    settings.rank = number;
    settings.world = scenario.world;
    settings.infer = scenario.infer;
    settings.optimizer = scenario.optimizer;
    settings.refuse_allocation = scenario.refuse_allocation;
    settings.dry = scenario.dry;
    settings.budget_device = scenario.budget_device;
    auto rank = std::make_unique<Rank>();
    rank->host = std::make_unique<RankHost>(settings, toy_, findings, meet);
    rank->run.struct_size = sizeof(esp_run);
    rank->run.mode = scenario.infer ? ESP_MODE_INFER : ESP_MODE_TRAIN;
    rank->run.rank = number;
    rank->run.world = scenario.world;
    rank->run.device_kind = ESP_CPU;
    rank->run.n_micro = scenario.n_micro;
    rank->run.n_passes_max = 1;
    rank->run.precision = scenario.precision;
    rank->run.seed = scenario.seed;
    rank->run.budget_device = scenario.budget_device;
    const auto values = options.values();
    rank->config = {sizeof(esp_config), static_cast<uint32_t>(values.size()), values.data(), &rank->run, nullptr, 0, 0};
    ranks_.push_back(std::move(rank));
  }
}

World::~World() { finish(); }

bool World::call(Rank& rank, Role role, const char* name, const Call& function, bool may_refuse) {
  const auto failure = rank.host->call(role, name, function, may_refuse);
  if (failure && may_refuse) refusal = *failure;
  return !failure;
}

bool World::on_ranks(const std::function<bool(Rank&)>& function) {
  ++segment_;
  std::vector<Turn> turns(ranks_.size());
  std::vector<char> fine(ranks_.size(), 0);
  for (size_t r = 0; r < ranks_.size(); ++r) {
    ranks_[r]->host->fork(segment_);
    turns[r].thread = std::thread([&, r] {
      t_turn = &turns[r];
      turns[r].go.acquire();
      fine[r] = function(*ranks_[r]) ? 1 : 0;
      turns[r].done = true;
      turns[r].back.release();
    });
  }
  bool all_done = false, ran = true;
  while (!all_done) {
    all_done = true;
    for (Turn& turn : turns) {
      if (turn.done) continue;
      turn.go.release();
      turn.back.acquire();
      all_done = all_done && turn.done;
    }
    ran = drain() && ran;
  }
  for (Turn& turn : turns) turn.thread.join();
  return ran && std::find(fine.begin(), fine.end(), 0) == fine.end();
}

bool World::drain() {
  std::vector<std::vector<Op>> work;
  for (auto& rank : ranks_) work.push_back(std::move(rank->host->ops));
  const bool fine = scenario_.dry || execute(work, scenario_.order, random_, findings_);
  ++segment_;
  for (auto& rank : ranks_) rank->host->fork(segment_);
  return fine;
}

bool World::start() {
  const auto create = [&](Rank& rank) {
    return call(
        rank, Role::kMain, "create",
        [&](esp_error* error) {
          return component_.component.create(&rank.host->host(), &rank.config, &rank.self, error);
        },
        true);
  };
  const auto plan = [&](Rank& rank) {
    rank.host->plan.struct_size = sizeof(esp_plan);
    return call(
        rank, Role::kPlan, "plan",
        [&](esp_error* error) { return table_.plan(rank.self, &toy_.view(), &rank.host->plan, error); }, true);
  };
  const auto prepare = [&](Rank& rank) {
    return call(
        rank, Role::kMain, "prepare",
        [&](esp_error* error) { return table_.prepare(rank.self, &toy_.view(), &rank.host->binder(), error); },
        scenario_.refuse_allocation >= 0);
  };
  if (!on_ranks(create) || !on_ranks(plan)) return false;
  const esp_plan& told = this->plan();
  scaler_.active = scenario_.precision == ESP_PRECISION_FP16 || told.grad_t == ESP_F16;
  if (scaler_.active) {
    scaler_.scale = told.scale_init > 0 ? told.scale_init : 65536;
    scaler_.floor = told.scale_min > 0 ? told.scale_min : 1;
    if (told.scale_window > 0) scaler_.window = told.scale_window;
    if (told.scale_hysteresis > 0) scaler_.hysteresis = told.scale_hysteresis;
  }
  for (auto& rank : ranks_) {
    rank->host->set_update_flags(ESP_UPDATE_NORM |
                                 (scaler_.active || scenario_.optimizer.clip > 0 ? ESP_UPDATE_BARRIER : 0));
    if (scenario_.watch_updates) {
      watch(*rank);
    } else if (scenario_.compare) {
      compare_gradients(*rank);
    }
  }
  return on_ranks(prepare);
}

bool World::call_state(Rank& rank, const esp_shard_sink& sink) {
  return call(rank, Role::kMain, "state", [&](esp_error* error) { return table_.state(rank.self, &sink, error); });
}

bool World::call_loaded(Rank& rank) {
  return call(rank, Role::kMain, "state_loaded",
              [&](esp_error* error) { return table_.state_loaded(rank.self, error); });
}

void World::watch(Rank& rank) {
  rank.host->on_update = [this, number = rank.run.rank](uint32_t param, uint64_t element, double gradient) {
    const double own = oracle_.gradient(param, element, number), all = oracle_.gradient(param, element);
    if (std::fabs(own - all) < 1e-3) return;  // tells nothing
    ++n_watched_;
    if (std::fabs(gradient - own) < 1e-5) ++n_local_;
  };
}

void World::compare_gradients(Rank& rank) {
  const double room = 16 * epsilon(plan().grad_t) + 1e-5;
  rank.host->on_update = [this, room, number = rank.run.rank](uint32_t param, uint64_t element, double gradient) {
    const double expected = oracle_.gradient(param, element);
    if (!std::isfinite(gradient)) return;  // the norm has to tell, and the weights will
    if (std::fabs(gradient - expected) <= room * (1 + std::fabs(expected))) return;
    std::ostringstream text;
    text << "the gradient of " << param_text(toy_, param) << ", element " << element << " is " << gradient
         << ", should be " << expected;
    findings_.add("NUM-08", text.str(), {"apply", number, static_cast<int64_t>(index_)});
  };
}

bool World::train() {
  bool fine = start() && fill();
  fine = fine && (!scenario_.evaluate || evaluate());
  for (uint32_t i = 0; fine && !scenario_.infer && i < scenario_.steps; ++i) {
    // Not behind the first step: where updates are wrong, a training forward shall be the first to see it.
    fine = step() && (!scenario_.evaluate || i == 0 || evaluate());
  }
  Saved saved;
  fine = fine && save(saved);
  finish();
  return fine;
}

void World::finish() {
  for (auto& rank : ranks_) {
    if (rank->self == nullptr) continue;
    rank->host->destroy([&] { table_.destroy(rank->self); });
    rank->self = nullptr;
  }
}

}  // namespace esp::verify
