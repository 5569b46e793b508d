#include "modules/module.hpp"

#include <sys/stat.h>

#include <map>
#include <memory>
#include <span>
#include <utility>

#include "config/resolve.hpp"
#include "modules/adopt.hpp"
#include "modules/answer_checks.hpp"
#include "modules/file_checks.hpp"
#include "modules/library.hpp"
#include "modules/libtorch.hpp"
#include "modules/load_error.hpp"
#include "modules/probe.hpp"
#include "modules/search.hpp"

namespace esp {
namespace {

using FileKey = std::pair<dev_t, ino_t>;  // the same file under whatever name

FileKey key_of(const std::filesystem::path& path) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) throw LoadError(1, path.string(), "it has just gone away");
  return {facts.st_dev, facts.st_ino};
}

// What was loaded stays until the process ends, later than every static destructor.
std::map<FileKey, std::unique_ptr<Module>>& registry() {
  static auto& modules = *new std::map<FileKey, std::unique_ptr<Module>>;
  return modules;
}

std::unique_ptr<ModuleComponent> adopt_component(const esp_component* theirs) {
  auto mine = std::make_unique<ModuleComponent>();
  mine->component = adopt<esp_component>(theirs);
  for (const esp_option* option : std::span(theirs->options, theirs->n_options)) {
    mine->options.push_back(adopt<esp_option>(option));
  }
  for (const esp_option& option : mine->options) mine->option_list.push_back(&option);
  mine->component.options = mine->option_list.data();
  return mine;
}

std::unique_ptr<Module> adopt_plugin(const std::filesystem::path& path, const esp_note& note,
                                     const esp_plugin& plugin) {
  auto module = std::make_unique<Module>();
  module->path = path;
  module->note = note;
  module->id = plugin.id;
  module->version = plugin.version;
  for (const esp_component* component : std::span(plugin.components, plugin.n_components)) {
    if (kind_name(component->kind).empty()) continue;                    // a kind of newer hosts
    module->components.push_back(adopt_component(component).release());  // registry() says why
  }
  return module;
}

}  // namespace

const ModuleComponent& Module::component(uint32_t kind, const std::string& id) const {
  std::vector<std::string> ids;
  const ModuleComponent* found = nullptr;
  for (const ModuleComponent* candidate : components) {
    if (candidate->component.kind != kind) continue;
    ids.emplace_back(candidate->component.id);
    if (id.empty() || id == candidate->component.id) found = candidate;
  }
  if (found != nullptr && (!id.empty() || ids.size() == 1)) return *found;
  const std::string file = path.filename().string(), name = kind_name(kind);
  if (ids.empty()) throw LoadError(50, file, "it offers no " + name + "; see: host plugins inspect " + path.string());
  std::string listed;
  for (const std::string& one : ids) listed += (listed.empty() ? "" : ", ") + one;
  if (id.empty()) {
    throw LoadError(
        50, file,
        "it offers several of the kind " + name + ": " + listed + "; name one, as in " + file + ":" + ids.front());
  }
  const std::string nearest = nearest_name(id, ids);
  throw LoadError(50, file,
                  "it has no " + name + " \"" + id + "\", only " + listed +
                      (nearest.empty() ? "" : "; did you mean " + nearest + "?"));
}

const Module& load_module(const std::string& name, Probe probe) {
  const std::filesystem::path path = find_plugin(name);
  std::unique_ptr<Module>& slot = registry()[key_of(path)];
  if (slot) return *slot;
  const PluginFile file = read_plugin_file(path);
  const std::vector<std::string> warnings = check_plugin_file(file, path.string());
  if (file.note.torch_tier != ESP_TORCH_NONE) load_libtorch();  // before the fork: the child need not map it again
  if (probe == Probe::kChild) probe_library(path, file);
  const esp_plugin& plugin = open_library(path, file, [](const std::string&) {});
  slot = adopt_plugin(path, file.note, plugin);
  slot->warnings = warnings;
  return *slot;
}

}  // namespace esp
