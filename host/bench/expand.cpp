#include "bench/expand.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "error.hpp"

namespace esp::bench {
namespace {

constexpr size_t kMaxCases = 10000;
constexpr int64_t kProfileSteps = 5;

const esp_option* host_option(const std::string& key) {
  for (const KeyTable& table : host_keys()) {
    for (const esp_option* option : table.keys) {
      if (key == table.name + "." + option->key) return option;
    }
  }
  return nullptr;
}

// The value as a row shows it: without the quotes of a text.
std::string plain_text(const Setting& setting) {
  const auto* text = std::get_if<std::string>(&setting.value);
  return text != nullptr ? printable(*text) : shown(setting);
}

std::string last_part(const std::string& key) { return key.substr(key.rfind('.') + 1); }

// What must not vary within one sweep.
void check_sweepable(const std::string& key, const Setting& setting, std::vector<Problem>& problems) {
  const auto refuse = [&](const std::string& why) {
    problems.push_back({setting.place.line, setting.place.column, setting.place.text + ": " + printable(key) + why});
  };
  const esp_option* option = host_option(key);
  if (key.starts_with("bench.")) {
    refuse(" holds for a whole sweep and cannot be swept; write it under [bench]");
  } else if (key == "train.max_steps" || key == "train.epochs") {
    refuse(" cannot be swept: bench.steps decides how long a run is");
  } else if (option != nullptr && (option->flags & ESP_OPT_SWEEPABLE) == 0) {
    refuse(" cannot be swept");
  }
}

void check_axes(const SweepDocument& document, const Settings& flags) {
  std::vector<Problem> problems;
  const auto check = [&](const std::string& key, const Setting& setting) {
    check_sweepable(key, setting, problems);
    if (flags.contains(key)) {
      problems.push_back({0, 0,
                          flags.at(key).place.text + " is swept at " + setting.place.text +
                              "; leave out the flag, or change the file"});
    }
  };
  for (const SweepAxis& axis : document.axes) check(axis.key, axis.values.front());
  for (const Settings& together : document.cases) {
    for (const auto& [key, setting] : together) {
      check(key, setting);
      for (const SweepAxis& axis : document.axes) {
        if (axis.key != key) continue;
        problems.push_back({setting.place.line, setting.place.column,
                            setting.place.text + ": " + printable(key) + " is swept in [sweep] already"});
      }
    }
  }
  if (!problems.empty()) throw Error(ExitCode::kUsage, join_problems(std::move(problems)));
}

// Calls `body` with one index per axis, the last axis fastest.
template <class Body>
void for_each_choice(const std::vector<const SweepAxis*>& axes, Body body) {
  std::vector<size_t> choice(axes.size(), 0);
  while (true) {
    body(choice);
    size_t axis = axes.size();
    while (axis > 0 && ++choice[axis - 1] == axes[axis - 1]->values.size()) choice[--axis] = 0;
    if (axis == 0) return;
  }
}

size_t product(const std::vector<const SweepAxis*>& axes, size_t factor) {
  size_t cases = factor;
  for (const SweepAxis* axis : axes) {
    cases *= axis->values.size();
    if (cases > kMaxCases) {
      throw Error(ExitCode::kUsage, axis->place.text + ": the sweep has more than " + std::to_string(kMaxCases) +
                                        " cases; split it into several files");
    }
  }
  return cases;
}

void set_default(Settings& settings, const std::string& key, Scalar value) {
  Setting setting;
  std::visit([&](const auto& held) { setting.value = held; }, value);
  setting.place.text = key;
  settings.try_emplace(key, std::move(setting));
}

// A benchmark run saves and scores nothing unless asked to, has full batches only, and as many steps as are timed.
void add_run_length(Settings& settings, const BenchOptions& options) {
  set_default(settings, "train.save", false);
  set_default(settings, "train.eval_every", int64_t{0});
  set_default(settings, "data.drop_last", true);
  set_default(settings, "train.profile_steps", kProfileSteps);
  settings.erase("train.max_steps");
  settings.erase("train.epochs");
  set_default(settings, "train.max_steps", options.steps_to_run());
  set_default(settings, "train.epochs", int64_t{1'000'000});
  settings.erase("run.out");
  for (auto at = settings.begin(); at != settings.end();)
    at = at->first.starts_with("bench.") ? settings.erase(at) : ++at;
}

std::string replaced(std::string text, const std::string& part, const std::string& by) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + by.size())) {
    text.replace(at, part.size(), by);
  }
  return text;
}

bool names(const SweepExternal& external, const SweepAxis& axis) {
  const std::string placeholder = "{" + axis.key + "}";
  return std::any_of(external.command.begin(), external.command.end(),
                     [&](const std::string& word) { return word.find(placeholder) != std::string::npos; });
}

// What does not vary and commands may name: keys of the file and of flags, and how long runs of the host are.
SweptValues constants(const SweepDocument& document, const Settings& flags, const BenchOptions& options) {
  Settings settings = document.base;
  merge(settings, flags);
  SweptValues values{{"sweep.folder", document.folder},
                     {"bench.steps", std::to_string(options.steps)},
                     {"bench.warmup", std::to_string(options.warmup_allowance())}};
  for (const auto& [key, setting] : settings) values.emplace_back(key, plain_text(setting));
  return values;
}

void fill(std::vector<std::string>& command, const SweptValues& values) {
  for (const auto& [key, value] : values) {
    for (std::string& word : command) word = replaced(word, "{" + key + "}", value);
  }
}

void add_external(const SweepExternal& external, const SweepDocument& document, const SweptValues& constant,
                  std::vector<SweepCase>& cases) {
  std::vector<const SweepAxis*> axes;
  for (const SweepAxis& axis : document.axes) {
    if (names(external, axis)) axes.push_back(&axis);
  }
  product(axes, cases.size() + 1);
  for_each_choice(axes, [&](const std::vector<size_t>& choice) {
    SweepCase one;
    one.name = printable(external.name);
    one.command = external.command;
    for (size_t i = 0; i < axes.size(); ++i) {
      one.swept.emplace_back(axes[i]->key, plain_text(axes[i]->values[choice[i]]));
    }
    fill(one.command, one.swept);
    fill(one.command, constant);
    cases.push_back(std::move(one));
  });
}

// Programs of others run beside the runs of the host that they are compared with: what agrees in the lists that they
// name stands together.
void put_side_by_side(const SweepDocument& document, std::vector<SweepCase>& cases) {
  std::vector<const SweepAxis*> shared;
  for (const SweepAxis& axis : document.axes) {
    const auto named = [&](const SweepExternal& external) { return names(external, axis); };
    if (std::any_of(document.externals.begin(), document.externals.end(), named)) shared.push_back(&axis);
  }
  const auto place = [&](const SweepCase& one) {
    std::vector<size_t> at;
    for (const SweepAxis* axis : shared) {
      const auto is_value = [&](const Setting& setting) {
        return std::find(one.swept.begin(), one.swept.end(), std::pair(axis->key, plain_text(setting))) !=
               one.swept.end();
      };
      const auto found = std::find_if(axis->values.begin(), axis->values.end(), is_value);
      at.push_back(static_cast<size_t>(found - axis->values.begin()));
    }
    return at;
  };
  std::stable_sort(cases.begin(), cases.end(),
                   [&](const SweepCase& a, const SweepCase& b) { return place(a) < place(b); });
}

}  // namespace

std::string SweepCase::label() const {
  std::string text = name;
  for (const auto& [key, value] : swept) {
    const bool speaks_for_itself = key == "run.plugin";
    text += (text.empty() ? "" : ", ") + (speaks_for_itself ? value : last_part(key) + " " + value);
  }
  return text.empty() ? "the only case" : text;
}

std::vector<SweepCase> expand(const SweepDocument& document, const Settings& flags, const BenchOptions& options) {
  check_axes(document, flags);
  std::vector<const SweepAxis*> axes;
  for (const SweepAxis& axis : document.axes) axes.push_back(&axis);
  const std::vector<Settings> tables = document.cases.empty() ? std::vector<Settings>{{}} : document.cases;
  product(axes, tables.size());
  // Only programs of others: then no run of the host is asked for.
  const bool only_external = axes.empty() && document.cases.empty() && !document.externals.empty();

  std::vector<SweepCase> cases;
  for (const Settings& together : tables) {
    if (only_external) break;
    for_each_choice(axes, [&](const std::vector<size_t>& choice) {
      SweepCase one;
      one.settings = document.base;
      for (const auto& [key, setting] : together) {
        one.settings[key] = setting;
        one.swept.emplace_back(key, plain_text(setting));
      }
      for (size_t i = 0; i < axes.size(); ++i) {
        const Setting& setting = axes[i]->values[choice[i]];
        one.settings[axes[i]->key] = setting;
        one.swept.emplace_back(axes[i]->key, plain_text(setting));
      }
      merge(one.settings, flags);
      add_run_length(one.settings, options);
      check_host_settings(one.settings);
      cases.push_back(std::move(one));
    });
  }
  const SweptValues constant = constants(document, flags, options);
  for (const SweepExternal& external : document.externals) add_external(external, document, constant, cases);
  put_side_by_side(document, cases);
  return cases;
}

}  // namespace esp::bench
