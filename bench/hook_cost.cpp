// What one hook costs the host: through the loader and the layer that the training loop calls strategies by, and
// through the checks of `host verify`.
//   hook_cost_bench LIBRARY [millions of calls] [repeats]
// Prints the best of the repeats, in nanoseconds a hook.
#include "verify/hook_cost.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "modules/module.hpp"
#include "runtime/train/component_instance.hpp"
#include "supervisor/phase.hpp"
#include "verify/rank_host.hpp"
#include "verify/settings.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using esp::runtime::Strategy;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// As the step driver does: before and after each unit, in turn.
double loop_ns(Strategy& strategy, uint64_t calls) {
  esp_step step{};
  step.struct_size = sizeof step;
  const auto begin = Clock::now();
  for (uint64_t i = 0; i < calls; i += 4) {
    const auto unit = static_cast<uint32_t>(i % 16);
    step.pos = unit;
    strategy.call_if_present("pre_forward", &esp_strategy_v1::pre_forward, &step, unit);
    strategy.call_if_present("post_forward", &esp_strategy_v1::post_forward, &step, unit);
    strategy.call_if_present("pre_backward", &esp_strategy_v1::pre_backward, &step, unit);
    strategy.call_if_present("post_backward", &esp_strategy_v1::post_backward, &step, unit);
  }
  return seconds_since(begin) * 1e9 / static_cast<double>(calls);
}

int measure(const char* library, uint64_t calls, int repeats) {
  const esp::Module& module = esp::load_module(library, esp::Probe::kTrust);
  const esp::ModuleComponent& component = module.component(ESP_STRATEGY, "");
  const esp::OptionSet options = esp::verify::option_values(component, {});
  esp::verify::Findings findings;
  const esp::verify::Toy toy(1);
  esp::verify::RankHost host({}, toy, findings, [](int) {});
  esp_run run{};
  run.struct_size = sizeof run;
  run.mode = ESP_MODE_TRAIN;
  run.world = 1;
  run.device_kind = ESP_CPU;
  run.n_micro = 1;
  run.n_passes_max = 1;
  const auto values = options.values();
  const esp_config config{sizeof(esp_config), static_cast<uint32_t>(values.size()), values.data(), &run, nullptr, 0, 0};
  const esp::runtime::Instance instance{&component.component, {values.begin(), values.end()}, library};
  Strategy strategy(instance, {library, ESP_STRATEGY, {&esp::name_phase, &esp::current_phase}, {}}, ESP_STRATEGY_ID,
                    &host.host(), &config);
  double loader = HUGE_VAL, checked = HUGE_VAL;
  for (int i = 0; i < repeats; ++i) {
    loader = std::min(loader, loop_ns(strategy, calls));
    checked = std::min(checked, esp::verify::hook_cost_ns(component, options, findings));
  }
  std::printf("%-40s %8.1f ns a hook\n%-40s %8.1f ns a hook\n", "through the loader", loader,
              "with the checks of host verify", checked);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "hook_cost_bench LIBRARY [millions of calls] [repeats]\n");
    return 2;
  }
  try {
    const uint64_t millions = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 10;
    return measure(argv[1], std::max<uint64_t>(millions, 1) * 1000000, argc > 3 ? std::atoi(argv[3]) : 5);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hook_cost_bench: %s\n", error.what());
    return 1;
  }
}
