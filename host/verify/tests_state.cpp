// Groups state and adapt: what is saved by some ranks and loaded by others, and what moves between steps.
#include <algorithm>
#include <optional>

#include "verify/settings.hpp"
#include "verify/strategy_tests.hpp"

namespace esp::verify {
namespace {

// Trains some steps, saves, continues elsewhere with the same number of samples a step, and compares with the oracle.
void reshard(const StrategySubject& subject, const OptionSet& options, const Scenario& scenario, int to,
             Findings& findings) {
  Saved saved;
  World first(*subject.component, options, scenario, findings);
  const bool fine = first.start() && first.fill() && first.step() && first.step() && first.save(saved);
  if (!first.refusal.empty()) throw Skip{"refused: " + first.refusal};
  if (!fine) return;
  Scenario then = scenario;
  then.world = to;
  World second(*subject.component, options, then, findings);
  if (!second.start()) return;
  second.oracle().continue_from(first.oracle());
  if (second.fill(&saved) && second.step() && second.step()) second.evaluate();
  second.finish();
}

constexpr uint64_t kAmple = uint64_t{1} << 26;  // more than all of the small world on the device

// With which it adapts within a budget: the options as given, else one of them at another choice.
std::optional<OptionSet> adapting_options(const StrategySubject& subject, const Scenario& scenario) {
  std::vector<GivenValues> tried = {subject.options.values};
  for (const esp_option* option : subject.component->option_list) {
    for (uint32_t c = 0; c < option->n_choices; ++c) {
      tried.push_back(subject.options.values);
      tried.back()[option->key] = option->choices[c];
    }
  }
  for (const GivenValues& values : tried) {
    OptionSet options = option_values(*subject.component, values);
    Findings not_asked;
    World world(*subject.component, options, scenario, not_asked);
    if (world.start() && world.adapts()) return options;
  }
  return std::nullopt;
}

Scenario adapting_scenario(const StrategySubject& subject, int ranks) {
  Scenario scenario = subject.scenario();
  scenario.world = ranks;
  scenario.n_micro = 2;
  scenario.steps = 6;
  scenario.optimizer.adamw = true;
  scenario.optimizer.clip = 0.5;
  scenario.budget_device = kAmple;
  scenario.capture = (subject.component->component.caps & ESP_CAP_CAPTURE_STEP) != 0;
  return scenario;
}

OptionSet require_adapting(const StrategySubject& subject, const Scenario& scenario) {
  std::optional<OptionSet> options = adapting_options(subject, scenario);
  if (!options) throw Skip{"neither the options as given nor another choice of one of them makes it adapt"};
  return std::move(*options);
}

// In half precision, too, where it can: masters are then apart from weights.
void adapt(const StrategySubject& subject, int ranks, bool tight, Findings& findings) {
  for (uint32_t precision : {ESP_PRECISION_DEFAULT, ESP_PRECISION_BF16}) {
    Scenario scenario = adapting_scenario(subject, ranks);
    scenario.tight = tight;
    scenario.precision = precision;
    if (precision != ESP_PRECISION_DEFAULT && !adapting_options(subject, scenario)) return;
    const OptionSet options = require_adapting(subject, scenario);
    World(*subject.component, options, scenario, findings).train();
  }
}

void adapt_dry(const StrategySubject& subject, Findings& findings) {
  Scenario scenario = adapting_scenario(subject, 2);
  const OptionSet options = require_adapting(subject, scenario);
  World real(*subject.component, options, scenario, findings);
  bool fine = real.start() && real.fill();
  const uint32_t warmup = std::max(1u, real.plan().warmup_steps);
  for (uint32_t i = 0; fine && i < warmup + 1; ++i) fine = real.step();
  scenario.dry = true;
  World dry(*subject.component, options, scenario, findings);
  if (!fine || !dry.start() || !dry.adapt()) return;
  if (real.host(0).arena.history() != dry.host(0).arena.history()) {
    findings.add("MEM-07", "a dry run takes other memory than a real one", {"adapt"});
  }
}

// Saved behind adapt, and loaded by ranks that have yet to adapt.
void resume_adapted(const StrategySubject& subject, int from, int to, Findings& findings) {
  Scenario scenario = subject.scenario();
  scenario.world = from;
  scenario.budget_device = kAmple;
  reshard(subject, require_adapting(subject, scenario), scenario, to, findings);
}

}  // namespace

void add_state(const StrategySubject& subject, StrategyTests& tests) {
  for (int from = 1; from <= subject.options.max_world; ++from) {
    for (int to = 1; to <= subject.options.max_world; ++to) {
      tests.add("state", "reshard-" + std::to_string(from) + "-to-" + std::to_string(to),
                [subject, from, to](Findings& findings) {
                  Scenario scenario = subject.scenario();
                  scenario.world = from;
                  reshard(subject, subject.defaults(), scenario, to, findings);
                });
    }
  }
}

void add_adapt(const StrategySubject& subject, StrategyTests& tests) {
  const std::string skip = no_capability(subject, ESP_CAP_ADAPTS, "ESP_CAP_ADAPTS");
  for (const auto& [from, to] : {std::pair{1, 2}, std::pair{2, 1}, std::pair{2, 2}}) {
    if (std::max(from, to) > subject.options.max_world) continue;
    tests.add(
        "adapt", "resumed-" + std::to_string(from) + "-to-" + std::to_string(to),
        [subject, from = from, to = to](Findings& findings) { resume_adapted(subject, from, to, findings); }, skip);
  }
  for (int world = 1; world <= subject.options.max_world; ++world) {
    for (bool tight : {false, true}) {
      tests.add(
          "adapt", std::string(tight ? "tight" : "ample") + "-world" + std::to_string(world),
          [subject, world, tight](Findings& findings) { adapt(subject, world, tight, findings); }, skip);
    }
  }
  tests.add(
      "adapt", "dry-run", [subject](Findings& findings) { adapt_dry(subject, findings); }, skip);
}

}  // namespace esp::verify
