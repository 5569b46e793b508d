#include <algorithm>
#include <cstring>

#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "error.hpp"

namespace esp {
namespace {

const KeyTable& host_table(const std::string& name) {
  const auto tables = host_keys();
  return *std::find_if(tables.begin(), tables.end(), [&](const KeyTable& table) { return table.name == name; });
}

// The values of one host table by key. Absent values leave what is assigned to alone.
class TableValues {
 public:
  TableValues(const Settings& settings, const std::string& table)
      : keys_(host_table(table).keys), set_(read_options(settings, table, keys_)) {}

  template <class T>
  void get(const char* key, T& out) const {
    if (const esp_value* value = find(key)) out = static_cast<T>(value->v.i);
  }
  void get(const char* key, uint64_t& out) const {
    if (const esp_value* value = find(key))
      out = value->type == ESP_OPT_BYTES ? value->v.u : static_cast<uint64_t>(value->v.i);
  }
  void get(const char* key, double& out) const {
    if (const esp_value* value = find(key)) out = value->v.f;
  }
  void get(const char* key, bool& out) const {
    if (const esp_value* value = find(key)) out = value->v.i != 0;
  }
  void get(const char* key, std::string& out) const {
    if (const esp_value* value = find(key)) out = value->v.s;
  }
  template <class T>
  void get(const char* key, std::optional<T>& out) const {
    if (find(key) != nullptr) get(key, out.emplace());
  }

  // Position of the chosen name in the option's list of choices, plus `first`.
  template <class Enum>
  void pick(const char* key, Enum& out, int first = 0) const {
    const esp_value* value = find(key);
    if (value == nullptr) return;
    const esp_option& option = *keys_[index(key)];
    for (uint32_t i = 0; i < option.n_choices; ++i) {
      if (std::strcmp(option.choices[i], value->v.s) == 0) out = static_cast<Enum>(first + static_cast<int>(i));
    }
  }

  template <class T>
  std::vector<T> list(const char* key) const {
    const esp_value& value = set_.values()[index(key)];
    const auto* begin = static_cast<const T*>(value.v.list);
    return value.n == 0 ? std::vector<T>() : std::vector<T>(begin, begin + value.n);
  }

 private:
  size_t index(const char* key) const {
    const auto found = std::find_if(keys_.begin(), keys_.end(),
                                    [&](const esp_option* option) { return std::strcmp(option->key, key) == 0; });
    if (found == keys_.end()) throw Error(ExitCode::kInternal, std::string("no host key is called ") + key);
    return static_cast<size_t>(found - keys_.begin());
  }
  const esp_value* find(const char* key) const {
    const esp_value& value = set_.values()[index(key)];
    return value.type == 0 ? nullptr : &value;
  }

  const std::vector<const esp_option*>& keys_;
  OptionSet set_;
};

std::string given_text(const Settings& settings, const std::string& key) {
  const auto found = settings.find(key);
  if (found == settings.end()) return key;
  return found->second.from_flag ? found->second.place.text : found->second.place.text + ": " + key;
}

void check_optimizer(const Settings& settings, const RunConfig::Optimizer& optimizer, size_t n_betas) {
  std::vector<Problem> problems;
  if (optimizer.warmup_steps && optimizer.warmup_ratio) {
    problems.push_back({0, 0,
                        given_text(settings, "optimizer.warmup_ratio") + " and " +
                            given_text(settings, "optimizer.warmup_steps") + " exclude each other; give one"});
  }
  const bool below_one = optimizer.betas[0] < 1 && optimizer.betas[1] < 1;
  if (n_betas != 2 || !below_one) {
    problems.push_back(
        {0, 0, given_text(settings, "optimizer.betas") + ": two numbers from 0 to below 1 are expected"});
  }
  if (optimizer.momentum >= 1) {
    problems.push_back({0, 0, given_text(settings, "optimizer.momentum") + ": a number from 0 to below 1 is expected"});
  }
  if (!problems.empty()) throw Error(ExitCode::kUsage, join_problems(std::move(problems)));
}

RunConfig::Run read_run(const Settings& settings) {
  RunConfig::Run run;
  const TableValues values(settings, "run");
  values.get("nproc", run.nproc);
  values.pick("device", run.device);
  values.get("threads", run.threads);
  values.get("device_budget", run.device_budget);
  values.get("pinned_budget", run.pinned_budget);
  values.get("timeout", run.timeout_s);
  values.get("collective_blocks", run.collective_blocks);
  values.get("seed", run.seed);
  values.get("out", run.out);
  values.get("verbosity", run.verbosity);
  const ComponentNames names = read_component_names(settings);
  run.plugin = names.plugin;
  run.strategy = names.strategy;
  return run;
}

RunConfig::Data read_data(const Settings& settings) {
  RunConfig::Data data;
  const TableValues values(settings, "data");
  values.get("module", data.module);
  values.get("split", data.split);
  values.get("shuffle", data.shuffle);
  values.get("limit", data.limit);
  values.get("drop_last", data.drop_last);
  values.get("workers", data.workers);
  return data;
}

RunConfig::Train read_train(const Settings& settings) {
  RunConfig::Train train;
  const TableValues values(settings, "train");
  values.get("epochs", train.epochs);
  values.get("max_steps", train.max_steps);
  values.get("batch_size", train.batch_size);
  values.get("global_batch_size", train.global_batch_size);
  values.get("accumulation_steps", train.accumulation_steps);
  values.pick("precision", train.precision, static_cast<int>(Precision::kFp32));
  values.get("clip_norm", train.clip_norm);
  values.get("eval_every", train.eval_every);
  values.pick("on_nonfinite", train.on_nonfinite);
  values.get("save", train.save);
  values.get("deterministic", train.deterministic);
  values.get("graph", train.graph);
  values.get("profile_steps", train.profile_steps);
  return train;
}

RunConfig::Optimizer read_optimizer(const Settings& settings) {
  RunConfig::Optimizer optimizer;
  const TableValues values(settings, "optimizer");
  values.pick("name", optimizer.name);
  values.get("lr", optimizer.lr);
  values.get("weight_decay", optimizer.weight_decay);
  values.get("eps", optimizer.eps);
  values.get("momentum", optimizer.momentum);
  values.pick("schedule", optimizer.schedule);
  values.get("warmup_steps", optimizer.warmup_steps);
  values.get("warmup_ratio", optimizer.warmup_ratio);
  const std::vector<double> betas = values.list<double>("betas");
  std::copy_n(betas.begin(), std::min<size_t>(betas.size(), 2), optimizer.betas.begin());
  check_optimizer(settings, optimizer, betas.size());
  return optimizer;
}

std::string read_text(const Settings& settings, const std::string& table, const std::string& key) {
  for (const esp_option* option : host_table(table).keys) {
    if (key != option->key) continue;
    const OptionSet set = read_options(settings, table, std::span(&option, 1));
    return set.values()[0].type == 0 ? "" : set.values()[0].v.s;
  }
  return "";
}

}  // namespace

std::pair<std::string, std::string> split_plugin_name(const std::string& name) {
  const size_t colon = name.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == name.size()) return {name, ""};
  const bool is_id = name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-", colon + 1) == std::string::npos;
  return is_id ? std::pair(name.substr(0, colon), name.substr(colon + 1)) : std::pair(name, std::string());
}

ComponentNames read_component_names(const Settings& settings) {
  ComponentNames names;
  names.plugin = read_text(settings, "run", "plugin");
  names.strategy = read_text(settings, "run", "strategy");
  names.model_module = read_text(settings, "model", "module");
  names.data_module = read_text(settings, "data", "module");
  const auto [library, component] = split_plugin_name(names.plugin);
  if (component.empty()) return names;
  if (!names.strategy.empty() && names.strategy != component) {
    throw Error(ExitCode::kUsage, given_text(settings, "run.strategy") + " = " + quoted(names.strategy) +
                                      " contradicts " + given_text(settings, "run.plugin") + " = " +
                                      quoted(names.plugin));
  }
  names.plugin = library;
  names.strategy = component;
  return names;
}

RunConfig read_run_config(const Settings& settings) {
  check_host_settings(settings);  // first, so that all mistakes are told at once and not the first table's
  RunConfig config;
  config.run = read_run(settings);
  const TableValues model(settings, "model");
  model.get("module", config.model.module);
  model.get("recompute", config.model.recompute);
  for (const char* pattern : model.list<const char*>("freeze")) config.model.freeze.emplace_back(pattern);
  config.data = read_data(settings);
  config.train = read_train(settings);
  config.optimizer = read_optimizer(settings);
  return config;
}

}  // namespace esp
