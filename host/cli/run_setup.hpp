// From settings to everything a run needs: the decided configuration, the loaded components and their options.
#pragma once

#include <string>

#include "config/option_set.hpp"
#include "config/resolve.hpp"
#include "config/run_config.hpp"
#include "config/settings.hpp"
#include "modules/module.hpp"
#include "runtime/api.hpp"

namespace esp::cli {

// A component with the values that its instance keeps pointing to.
struct ComponentSetup {
  const Module* module = nullptr;
  const ModuleComponent* component = nullptr;
  OptionSet options;

  runtime::Instance instance() const;
};

// The strategy that evaluates where none is named: evaluation only needs parameters bound.
inline constexpr const char* kEvaluationPlugin = "libddp.so";

struct RunSetup {
  RunConfig config;
  ComponentSetup strategy, model, dataset;
  std::string resolved_toml;  // every key with its value
};

// Loads the libraries that `settings` name and checks every setting against them. `default_plugin` is used where
// run.plugin is not given; empty: then it must be. Throws Error before anything was started.
// run.device is cpu or cuda afterwards; whether a GPU that was named can be had shows when the run starts.
RunSetup set_up_run(const Settings& settings, const std::string& default_plugin, Probe probe);

std::string device_name(Device device);  // "cpu", "cuda"

}  // namespace esp::cli
