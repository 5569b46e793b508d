// Trains the toy with a built-in strategy where each stream of each rank is a thread and an event a flag, so that
// ThreadSanitizer, with which this program and the strategies are built, reports every ordering that is missing.
//
//   strategy_race CASE             exits with 1 when a value is wrong, with TSan's code when there was a race
//   strategy_race CASE without N   the same without the wait number N
//   strategy_race CASE each-wait   for each call of `wait` a run without it, in a process of its own; prints FOUND:
//   WAIT,
//                                  where FOUND is race, order (the mock host complains), values or nothing, and WAIT is
//                                  "no order" where other waits order the same; those that come too late to order
//                                  anything are left out together
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "toy_run.hpp"

namespace {

uint64_t real(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

constexpr uint64_t kBudget = 24000;  // bytes: of the toy, some fit on the device

struct Case {
  std::string name;
  ToySettings settings;
  Addition addition;
};

ToySettings settings_of(const char* library, uint32_t precision) {
  ToySettings settings;
  settings.library = library;
  settings.precision = precision;
  settings.world = 2;
  settings.n_micro = 2;
  settings.steps = 2;
  settings.evaluate_every = 2;  // so that a training step also follows upon one
  settings.update.flags = ESP_UPDATE_NORM;
  if (precision == ESP_PRECISION_FP16) settings.update.flags |= ESP_UPDATE_BARRIER;
  return settings;
}

Case zero(uint64_t stage, bool offload) {
  Case one;
  one.name = "zero" + std::to_string(stage) + (offload ? "_offload" : "");
  one.settings = settings_of(ESPALIER_ZERO, ESP_PRECISION_BF16);
  one.settings.options["stage"] = stage;
  if (offload) one.settings.texts["offload"] = "optimizer";
  one.addition = stage == 1 ? Addition::kMicrosThenRanks : Addition::kRanksThenMicros;
  return one;
}

Case gemini(const char* name, double parameters, double optimizer) {
  Case one = {name, settings_of(ESPALIER_GEMINI, ESP_PRECISION_BF16), Addition::kRanksThenMicros};
  one.settings.options["parameter_offload"] = real(parameters);
  one.settings.options["optimizer_offload"] = real(optimizer);
  return one;
}

// Alone a rank computes with its weights where they are updated; a single micro-batch is not added to anything.
Case with(Case one, const char* suffix, int world, uint32_t n_micro) {
  one.name += suffix;
  one.settings.world = world;
  one.settings.n_micro = n_micro;
  return one;
}

std::vector<Case> cases() {
  std::vector<Case> all = {
      {"ddp", settings_of(ESPALIER_DDP, ESP_PRECISION_FP32), Addition::kMicrosThenRanks},
      {"ddp_fp16", settings_of(ESPALIER_DDP_FP16, ESP_PRECISION_FP16), Addition::kMicrosThenRanks},
  };
  for (uint64_t stage : {1u, 2u, 3u}) {
    for (bool offload : {false, true}) all.push_back(zero(stage, offload));
  }
  all.push_back(with(zero(1, true), "_alone", 1, 2));
  all.push_back(gemini("gemini", 0, 0));
  all.push_back(gemini("gemini_cpu_update", 0, 1));
  all.push_back(gemini("gemini_mixed", 0.5, 0.75));
  all.push_back(gemini("gemini_host", 1, 1));
  all.push_back(gemini("gemini_auto", 0, 0));  // adapts behind its warm-up
  all.back().settings.texts["placement"] = "auto";
  all.back().settings.budget_device = kBudget;
  all.push_back(with(gemini("gemini_mixed", 0.5, 0.75), "_once", 2, 1));
  all.push_back(with(gemini("gemini_cpu_update", 0, 1), "_alone", 1, 2));
  all.push_back(with(gemini("gemini_host", 1, 1), "_alone", 1, 1));
  return all;
}

enum class Found : int { kNothing, kValues, kOrder };  // and what TSan's exit code says

// Whether every rank saw the oracle's weights in the end, and the mock host what it demands.
Found look_at(const Case& one) {
  const std::vector<ToyRank> ranks = train(one.settings);
  const Values expected = oracle(one.settings, 0, one.addition, ranks[0].plan);
  for (const ToyRank& rank : ranks) {
    if (!rank.error.empty()) std::fprintf(stderr, "%s\n", rank.error.c_str());
    if (!rank.error.empty()) return Found::kValues;
    if (!rank.host->violations.empty()) return Found::kOrder;
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      const std::vector<float>& seen = rank.evaluated.back()[param];
      if (!seen.empty() && seen != expected[param]) return Found::kValues;
    }
  }
  return Found::kNothing;
}

// Every way in which the host may run it.
bool trains_without_mistakes(Case one) {
  one.settings.on_threads = true;
  bool fine = look_at(one) == Found::kNothing;
  one.settings.update.flags |= ESP_UPDATE_BARRIER;
  one.settings.update.clip_norm = 0.5;
  fine = look_at(one) == Found::kNothing && fine;
  one.settings.world = 3;
  one.settings.n_micro = 1;
  fine = look_at(one) == Found::kNothing && fine;
  one.settings.capture = true;
  one.settings.steps = 6;
  one.settings.evaluate_every = 3;
  return look_at(one) == Found::kNothing && fine;
}

const char* found_in_child(const Case& one) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) std::exit(static_cast<int>(look_at(one)));
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return "crash";
  switch (static_cast<Found>(WEXITSTATUS(status))) {
    case Found::kNothing:
      return "nothing";
    case Found::kValues:
      return "values";
    case Found::kOrder:
      return "order";
  }
  return "race";
}

// What repeats itself from step to step is done once.
void swallow_each(Case one) {
  const std::vector<MockHost::Wait> waits = train(one.settings)[0].host->waits;
  one.settings.on_threads = true;
  std::set<std::pair<std::string, int>> done;
  std::set<size_t> idle;
  std::map<std::string, int> times;  // in a row, without a gap
  std::string last;
  for (size_t i = 0; i < waits.size(); ++i) {
    const std::string hook = waits[i].what.substr(0, waits[i].what.find(':'));
    if (hook != last) times.clear();
    last = hook;
    if (!waits[i].adds_order) idle.insert(i);
    if (!waits[i].adds_order || !done.insert({waits[i].what, times[waits[i].what]++}).second) continue;
    one.settings.swallowed_waits = {i};
    std::printf("%s: %s\n", found_in_child(one), waits[i].covered ? "no order" : waits[i].what.c_str());
  }
  one.settings.swallowed_waits = idle;
  std::printf("%s: no order\n", found_in_child(one));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string wanted = argc > 1 ? argv[1] : "", what = argc > 2 ? argv[2] : "";
  for (Case one : cases()) {
    if (wanted != one.name) continue;
    if (what == "each-wait") {
      swallow_each(one);
      return 0;
    }
    if (what == "without" && argc > 3) one.settings.swallowed_waits = {static_cast<size_t>(std::atoi(argv[3]))};
    return trains_without_mistakes(one) ? 0 : 1;
  }
  std::fprintf(stderr, "no case %s\n", wanted.c_str());
  return 2;
}
