#include "cli/run_setup.hpp"

#include <array>
#include <utility>
#include <vector>

#include "modules/libtorch.hpp"

namespace esp::cli {
namespace {

// "libzero.so:zero" names a component of a library.
std::pair<std::string, std::string> split_component(const std::string& name) {
  const size_t colon = name.rfind(':');
  if (colon == std::string::npos || name.find('/', colon) != std::string::npos) return {name, ""};
  return {name.substr(0, colon), name.substr(colon + 1)};
}

ComponentSetup load_component(uint32_t kind, const std::string& name, const std::string& component, Probe probe) {
  const auto [file, in_name] = split_component(name);
  if (!component.empty() && !in_name.empty() && component != in_name) {
    throw Error(ExitCode::kUsage, "run.plugin names component \"" + in_name + "\", run.strategy names \"" + component +
                                      "\"; give one of the two");
  }
  ComponentSetup setup;
  setup.module = &load_module(file, probe);
  setup.component = &setup.module->component(kind, component.empty() ? in_name : component);
  return setup;
}

std::span<const esp_option* const> options_of(const ComponentSetup& setup) { return setup.component->option_list; }

ExtraKeys extra_keys(const std::string& table, const ComponentSetup& setup) {
  return {table, setup.module->path.filename().string() + ":" + setup.component->component.id, options_of(setup)};
}

std::string resolve_to_toml(const Settings& settings, const RunSetup& setup) {
  std::vector<OptionSet> host_values;
  std::vector<ResolvedTable> tables;
  for (const KeyTable& table : host_keys()) {
    if (table.name == "bench" || table.name == "sweep") continue;  // of `host bench`
    host_values.push_back(read_options(settings, table.name, table.keys));
  }
  size_t next = 0;
  for (const KeyTable& table : host_keys()) {
    if (table.name == "bench" || table.name == "sweep") continue;
    tables.push_back({table.name, table.keys, host_values[next++].values()});
    if (table.name == "model") tables.push_back({table.name, options_of(setup.model), setup.model.options.values()});
    if (table.name == "data") tables.push_back({table.name, options_of(setup.dataset), setup.dataset.options.values()});
  }
  tables.push_back({"strategy", options_of(setup.strategy), setup.strategy.options.values()});
  return to_toml(tables);
}

}  // namespace

runtime::Instance ComponentSetup::instance() const {
  return {&component->component, {options.values().begin(), options.values().end()}, module->path.filename().string()};
}

std::string device_name(Device device) {
  if (device == Device::kCuda) {
    throw Error(ExitCode::kResource, "run.device = cuda: this build has no CUDA runtime (libespalier_cuda.so); use cpu or auto");
  }
  return "cpu";
}

RunSetup set_up_run(const Settings& given, const std::string& default_plugin, Probe probe) {
  Settings settings = given;
  if (!settings.contains("run.plugin") && !default_plugin.empty()) {
    settings["run.plugin"] = {default_plugin, false, {"default", "."}};
  }
  RunSetup setup;
  setup.config = read_run_config(settings);
  if (setup.config.run.plugin.empty()) {
    throw Error(ExitCode::kUsage, "no strategy given; try --plugin=libddp.so (host plugins list shows what is there)");
  }
  device_name(setup.config.run.device);
  setup.strategy = load_component(ESP_STRATEGY, setup.config.run.plugin, setup.config.run.strategy, probe);
  setup.model = load_component(ESP_MODEL, setup.config.model.module, "", probe);
  setup.dataset = load_component(ESP_DATASET, setup.config.data.module, "", probe);

  const std::array extra{extra_keys("strategy", setup.strategy), extra_keys("model", setup.model),
                         extra_keys("data", setup.dataset)};
  check_settings(settings, extra);
  setup.strategy.options = read_options(settings, "strategy", options_of(setup.strategy));
  setup.model.options = read_options(settings, "model", options_of(setup.model));
  setup.dataset.options = read_options(settings, "data", options_of(setup.dataset));
  setup.resolved_toml = resolve_to_toml(settings, setup);
  return setup;
}

}  // namespace esp::cli
