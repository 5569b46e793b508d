#include "cli/configuration_page.hpp"

#include <vector>

#include "cli/option_json.hpp"
#include "config/resolve.hpp"
#include "modules/module.hpp"

namespace esp::cli {
namespace {

constexpr const char* kBuiltIn[] = {"libddp.so", "libddp_fp16.so", "libzero.so", "libgemini.so", "libvit.so"};

}  // namespace

std::string configuration_page() {
  std::vector<ExtraKeys> built_in;
  for (const char* library : kBuiltIn) {
    for (const ModuleComponent* component : load_module(library, Probe::kChild).components) {
      const std::string owner = std::string(library) + ":" + component->component.id;
      built_in.push_back({table_of(component->component.kind), owner, component->option_list});
    }
  }
  return configuration_markdown(built_in);
}

}  // namespace esp::cli
