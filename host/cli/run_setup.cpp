#include "cli/run_setup.hpp"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string_view>
#include <vector>

#include "modules/runtime_library.hpp"

namespace esp::cli {
namespace {

ComponentSetup load_component(uint32_t kind, const std::string& file, const std::string& component, Probe probe) {
  ComponentSetup setup;
  setup.module = &load_module(file, probe);
  setup.component = &setup.module->component(kind, component);
  if (probe == Probe::kChild) {  // ranks whose libraries were probed for them stay silent
    for (const std::string& warning : setup.module->warnings) std::cerr << "host: warning: " << warning << '\n';
  }
  return setup;
}

std::span<const esp_option* const> options_of(const ComponentSetup& setup) { return setup.component->option_list; }

ExtraKeys extra_keys(const std::string& table, const ComponentSetup& setup) {
  return {table, setup.module->path.filename().string() + ":" + setup.component->component.id, options_of(setup)};
}

bool is_of_run(const KeyTable& table) { return table.name != "bench"; }  // those are of `host bench`

std::string resolve_to_toml(const Settings& settings, const RunSetup& setup) {
  std::vector<OptionSet> host_values;
  for (const KeyTable& table : host_keys()) {
    if (is_of_run(table)) host_values.push_back(read_options(settings, table.name, table.keys));
  }
  std::vector<ResolvedTable> tables;
  size_t next = 0;
  for (const KeyTable& table : host_keys()) {
    if (!is_of_run(table)) continue;
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

std::string device_name(Device device) { return device == Device::kCuda ? "cuda" : "cpu"; }

namespace {

// What can be seen without starting a driver, which takes longer than all else before a run: this build can use a GPU,
// the system shows one, and the user has not hidden it.
bool sees_gpu() {
  std::error_code ignored;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr && (*visible == '\0' || std::string_view(visible) == "-1")) return false;
  if (!std::filesystem::exists(runtime_library_path().parent_path() / "libespalier_cuda.so", ignored)) return false;
  return std::filesystem::exists("/dev/nvidiactl", ignored) || std::filesystem::exists("/dev/dxg", ignored);
}

bool runs_on(const ComponentSetup& setup, Device device) {
  return (setup.component->component.caps & (device == Device::kCuda ? ESP_CAP_CUDA : ESP_CAP_CPU)) != 0;
}

// auto: the GPU where there is one and all that run can use it. What was named must be possible.
Device resolve_device(const RunSetup& setup) {
  const ComponentSetup* const parts[] = {&setup.strategy, &setup.model};
  const Device wanted = setup.config.run.device;
  if (wanted == Device::kAuto) {
    const bool all = runs_on(*parts[0], Device::kCuda) && runs_on(*parts[1], Device::kCuda);
    return all && sees_gpu() ? Device::kCuda : Device::kCpu;
  }
  for (const ComponentSetup* part : parts) {
    if (runs_on(*part, wanted)) continue;
    throw Error(ExitCode::kUsage, "run.device = " + device_name(wanted) + ": " +
                                      part->module->path.filename().string() + ":" + part->component->component.id +
                                      " does not run there");
  }
  return wanted;
}

}  // namespace

RunSetup set_up_run(const Settings& given, const std::string& default_plugin, Probe probe) {
  Settings settings = given;
  if (!settings.contains("run.plugin") && !default_plugin.empty()) {
    settings["run.plugin"].value = default_plugin;
  }
  const ComponentNames names = read_component_names(settings);
  if (names.plugin.empty()) {
    check_host_settings(settings);
    throw Error(ExitCode::kUsage, "no strategy given; try --plugin=libddp.so (host plugins list shows what is there)");
  }
  RunSetup setup;
  setup.strategy = load_component(ESP_STRATEGY, names.plugin, names.strategy, probe);
  setup.model = load_component(ESP_MODEL, names.model_module, "", probe);
  setup.dataset = load_component(ESP_DATASET, names.data_module, "", probe);

  // Only now every key can be judged: all mistakes are told at once.
  const std::array extra{extra_keys("strategy", setup.strategy), extra_keys("model", setup.model),
                         extra_keys("data", setup.dataset)};
  check_settings(settings, extra);
  setup.config = read_run_config(settings);
  setup.config.run.device = resolve_device(setup);
  setup.strategy.options = read_options(settings, "strategy", options_of(setup.strategy));
  setup.model.options = read_options(settings, "model", options_of(setup.model));
  setup.dataset.options = read_options(settings, "data", options_of(setup.dataset));
  setup.resolved_toml = resolve_to_toml(settings, setup);
  return setup;
}

}  // namespace esp::cli
