// What a strategy is put through: scenarios of the small world, by group.
#include <algorithm>
#include <cmath>

#include "config/option_value.hpp"
#include "verify/hook_cost.hpp"
#include "verify/leftovers.hpp"
#include "verify/settings.hpp"
#include "verify/strategy_tests.hpp"

namespace esp::verify {
namespace {

std::string title(const Scenario& scenario) {
  static constexpr const char* kPrecisions[] = {"default", "fp32", "tf32", "bf16", "fp16"};
  std::string text = std::string(kPrecisions[scenario.precision]) + "-world" + std::to_string(scenario.world) +
                     "-micro" + std::to_string(scenario.n_micro) + (scenario.optimizer.adamw ? "-adamw" : "-sgd");
  if (scenario.optimizer.clip > 0) text += "-clip";
  return text;
}

// Ranks that all see the samples of rank 0 end where one rank ends.
void equal_samples(const StrategySubject& subject, Findings& findings) {
  std::vector<std::vector<double>> seen[2];
  for (const int world_size : {1, 3}) {
    Scenario scenario = subject.scenario();
    scenario.world = world_size;
    scenario.same_samples = true;
    scenario.compare = false;
    const OptionSet options = subject.defaults();
    World world(*subject.component, options, scenario, findings);
    if (!world.train()) return;
    seen[world_size == 1 ? 0 : 1] = world.seen_weights(0);
  }
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    for (size_t i = 0; i < seen[0][param].size(); ++i) {
      const double one = seen[0][param][i], three = seen[1][param][i];
      if (std::fabs(one - three) <= 1e-2 * (1 + std::fabs(one))) continue;
      findings.add("NUM-03",
                   "parameter " + std::to_string(param) + ", element " + std::to_string(i) + " ends as " +
                       std::to_string(three) + " on three ranks, as " + std::to_string(one) + " on one",
                   {});
      return;
    }
  }
}

// A strategy whose ranks update alone must bring them together from time to time.
void agree_again(const StrategySubject& subject, Findings& findings) {
  constexpr int kSteps = 64;
  Scenario scenario = subject.scenario();
  scenario.world = 2;
  scenario.compare = false;
  const OptionSet options = subject.defaults();
  World world(*subject.component, options, scenario, findings);
  bool fine = world.start() && world.fill();
  for (int i = 0; fine && i < kSteps; ++i) {
    fine = world.step() && world.evaluate();
    if (fine && world.seen_weights(0) == world.seen_weights(1)) return;
  }
  if (fine) findings.add("NUM-07", "no agreement within " + std::to_string(kSteps) + " steps", {});
}

// Whether each rank updates with its own gradients: then the oracle says nothing about weights.
bool updates_locally(const StrategySubject& subject) {
  const TestCase question{"", "",
                          [&](Findings& findings) {
                            Scenario scenario = subject.scenario();
                            scenario.world = 2;
                            scenario.precision = ESP_PRECISION_FP32;
                            scenario.steps = 1;  // later ones start from other weights
                            scenario.compare = false;
                            scenario.watch_updates = true;
                            const OptionSet options = subject.defaults();
                            World world(*subject.component, options, scenario, findings);
                            world.train();
                            if (world.updates_locally()) findings.note("yes");
                          },
                          ""};
  return !run_test(question, subject.options.limit_s).notes.empty();
}

void add_numerics(const StrategySubject& subject, StrategyTests& tests) {
  const std::string skip = subject.options.local_updates  ? "each rank updates with its own gradients"
                           : subject.options.own_numerics ? "asked for: --numerics own"
                                                          : "";
  for (int world = 1; world <= subject.options.max_world; ++world) {
    for (uint32_t micro : {1u, 2u, 3u}) {
      for (bool adamw : {false, true}) {
        for (double clip : {0.0, 0.5}) {
          for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16, ESP_PRECISION_FP16}) {
            Scenario scenario;
            scenario.world = world;
            scenario.n_micro = micro;
            scenario.precision = precision;
            scenario.optimizer.adamw = adamw;
            scenario.optimizer.clip = clip;
            scenario.evaluate = false;
            const bool few = precision == ESP_PRECISION_FP32 || (micro == 2 && adamw == (clip > 0));
            if (few) tests.add_training("numerics", title(scenario), scenario, skip);
          }
        }
      }
    }
  }
  Scenario overflow;
  overflow.world = 2;
  overflow.precision = ESP_PRECISION_FP16;
  overflow.overflow_step = 1;
  overflow.evaluate = false;
  tests.add_training("numerics", "fp16-overflow-skips", overflow, skip);
  tests.add("numerics", "equal-samples-on-all-ranks",
            [subject](Findings& findings) { equal_samples(subject, findings); });
  if (subject.options.local_updates) {
    tests.add("numerics", "ranks-agree-again", [subject](Findings& findings) { agree_again(subject, findings); });
  }
}

// Functions that a strategy runs by device.call touch memory that nobody names, so a race of theirs shows in the
// outcome alone: whatever is late, the weights end as they do when all runs as issued.
void ends_alike(const StrategySubject& subject, Findings& findings) {
  const std::pair<const char*, Order> orders[] = {{"as issued", Order::kIssued},
                                                  {"with the compute stream late", Order::kComputeLast},
                                                  {"with side streams late", Order::kComputeFirst},
                                                  {"in random order", Order::kRandom}};
  std::vector<std::vector<double>> as_issued;
  for (const auto& [when, order] : orders) {
    Scenario scenario = subject.scenario();
    scenario.world = 2;
    scenario.n_micro = 2;
    scenario.order = order;
    scenario.compare = false;
    const OptionSet options = subject.defaults();
    World world(*subject.component, options, scenario, findings);
    if (!world.train()) return;
    const auto ended = world.seen_weights(1);
    if (as_issued.empty()) as_issued = ended;
    if (ended != as_issued) {
      findings.add("STREAM-01", "weights end differently " + std::string(when) + " than as issued", {});
      return;
    }
  }
}

void add_streams(const StrategySubject& subject, StrategyTests& tests) {
  const std::pair<const char*, Order> orders[] = {{"as-issued", Order::kIssued},
                                                  {"compute-delayed", Order::kComputeLast},
                                                  {"sides-delayed", Order::kComputeFirst},
                                                  {"random", Order::kRandom}};
  for (const auto& [name, order] : orders) {
    for (int world = 1; world <= 2; ++world) {
      Scenario scenario;
      scenario.world = world;
      scenario.n_micro = 2;
      scenario.order = order;
      scenario.optimizer.clip = 0.5;
      tests.add_training("streams", std::string(name) + "-world" + std::to_string(world), scenario);
    }
  }
  tests.add(
      "streams", "delays-change-nothing", [subject](Findings& findings) { ends_alike(subject, findings); },
      no_capability(subject, ESP_CAP_DETERMINISTIC, "ESP_CAP_DETERMINISTIC"));
}

void add_capture(const StrategySubject& subject, StrategyTests& tests) {
  for (int world = 1; world <= subject.options.max_world; ++world) {
    for (bool evaluate : {false, true}) {
      Scenario scenario;
      scenario.world = world;
      scenario.n_micro = 2;
      scenario.steps = 10;
      scenario.capture = true;
      scenario.evaluate = evaluate;
      tests.add_training("capture",
                         std::string("replay-world") + std::to_string(world) + (evaluate ? "-evaluated" : ""), scenario,
                         no_capability(subject, ESP_CAP_CAPTURE_STEP, "ESP_CAP_CAPTURE_STEP"));
    }
  }
  Scenario eager;
  eager.world = 2;
  eager.steps = 10;
  tests.add_training("capture", "equal-variants-make-equal-calls", eager);
}

void refuse_each(const StrategySubject& subject, Findings& findings) {
  const OptionSet options = subject.defaults();
  for (int64_t number = 0; number < 1000; ++number) {
    Scenario scenario = subject.scenario();
    scenario.refuse_allocation = number;
    World world(*subject.component, options, scenario, findings);
    const bool started = world.start();
    const bool asked = world.host(0).allocations_asked > static_cast<uint64_t>(number);
    if (started && asked)
      findings.add("MEM-06", "prepare succeeds without allocation " + std::to_string(number), {"prepare"});
    world.finish();
    if (!asked) return;
  }
}

void dry_run(const StrategySubject& subject, Findings& findings) {
  const OptionSet options = subject.defaults();
  std::vector<Arena::Allocation> taken[2];
  for (int dry = 0; dry < 2; ++dry) {
    Scenario scenario = subject.scenario();
    scenario.dry = dry == 1;
    World world(*subject.component, options, scenario, findings);
    if (!world.start()) throw Skip{"refused: " + world.refusal};
    taken[dry] = world.host(0).arena.history();
    world.finish();
  }
  if (taken[0] != taken[1]) findings.add("MEM-07", "a dry run takes other memory than a real one", {"prepare"});
}

void leaves_nothing(const StrategySubject& subject, Findings& findings) {
  const OptionSet options = subject.defaults();
  const auto once = [&] {
    Scenario scenario = subject.scenario();
    scenario.steps = 1;
    World world(*subject.component, options, scenario, findings);
    world.train();
  };
  check_leftovers(once, 100, findings);
}

void two_at_once(const StrategySubject& subject, Findings& findings) {
  Scenario scenario = subject.scenario();
  const OptionSet options = subject.defaults();
  World a(*subject.component, options, scenario, findings), b(*subject.component, options, scenario, findings);
  if (!a.start() || !b.start() || !a.fill() || !b.fill()) return;
  for (int i = 0; i < 3; ++i) {
    if (!a.step() || !b.step()) return;
  }
  if (a.evaluate()) b.evaluate();
}

void equal_bits(const StrategySubject& subject, Findings& findings) {
  std::vector<std::vector<double>> seen[2];
  for (auto& weights : seen) {
    Scenario scenario = subject.scenario();
    scenario.world = 2;
    scenario.n_micro = 2;
    scenario.seed += &weights == &seen[1] ? 1 : 0;  // another order of streams
    scenario.compare = false;
    const OptionSet options = subject.defaults();
    World world(*subject.component, options, scenario, findings);
    if (!world.train()) return;
    weights = world.seen_weights(0);
  }
  if (seen[0] != seen[1]) findings.add("NUM-04", "two runs end with different weights", {});
}

// One option away from its default, a few steps.
void with_option(const StrategySubject& subject, const std::string& key, const std::string& value, Findings& findings) {
  GivenValues values = subject.options.values;
  values[key] = value;
  const OptionSet set = option_values(*subject.component, values);
  Scenario scenario = subject.scenario();
  scenario.world = 2;
  scenario.steps = 2;
  World world(*subject.component, set, scenario, findings);
  world.train();
  if (!world.refusal.empty()) throw Skip{"refused: " + world.refusal};
}

void add_options(const StrategySubject& subject, StrategyTests& tests) {
  for (const esp_option* each : subject.component->option_list) {
    const esp_option& option = *each;
    std::vector<std::string> values;
    for (uint32_t c = 0; c < option.n_choices; ++c) values.emplace_back(option.choices[c]);
    if (option.type == ESP_OPT_BOOL) values = {"false", "true"};
    for (const esp_value& bound : {option.min, option.max}) {
      if (bound.type != 0) values.push_back(value_text(bound));
    }
    for (const std::string& value : values) {
      const std::string key = option.key;
      tests.add("options", key + "=" + value,
                [subject, key, value](Findings& findings) { with_option(subject, key, value, findings); });
    }
  }
}

}  // namespace

std::vector<TestCase> strategy_tests(const Module&, const ModuleComponent& component, const VerifyOptions& options) {
  std::vector<TestCase> cases;
  StrategySubject subject{&component, options};
  subject.options.local_updates = updates_locally(subject);
  if (subject.options.local_updates) subject.options.own_numerics = true;
  StrategyTests tests(subject, cases);
  tests.add("options", "defaults", [subject](Findings& findings) {
    try {
      train(subject, Scenario(), findings);
    } catch (const Skip& skip) {
      findings.add("OPT-02", skip.reason, {"plan"});
    }
  });
  add_options(subject, tests);
  tests.add("lifecycle", "leaves-nothing", [subject](Findings& f) { leaves_nothing(subject, f); });
  tests.add("lifecycle", "two-at-once", [subject](Findings& f) { two_at_once(subject, f); });
  for (int world = 1; world <= options.max_world; ++world) {
    Scenario scenario;
    scenario.world = world;
    scenario.n_micro = 2;
    scenario.order = Order::kIssued;
    tests.add_training("hooks", "world" + std::to_string(world), scenario);
  }
  Scenario infer;
  infer.infer = true;
  infer.world = 2;
  tests.add_training("hooks", "inference", infer, no_capability(subject, ESP_CAP_INFER, "ESP_CAP_INFER"));
  add_streams(subject, tests);
  add_numerics(subject, tests);
  tests.add("numerics", "equal-bits", [subject](Findings& f) { equal_bits(subject, f); });
  add_state(subject, tests);
  tests.add("memory", "dry-run", [subject](Findings& f) { dry_run(subject, f); });
  tests.add("memory", "each-allocation-refused", [subject](Findings& f) { refuse_each(subject, f); });
  add_capture(subject, tests);
  add_adapt(subject, tests);
  tests.add("overhead", "hook-cost",
            [subject](Findings& findings) { check_hook_cost(*subject.component, subject.defaults(), findings); });
  return cases;
}

}  // namespace esp::verify
