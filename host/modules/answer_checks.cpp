#include "modules/answer_checks.hpp"

#include <espalier/dataset.h>
#include <espalier/model.h>
#include <espalier/strategy.h>

#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "modules/adopt.hpp"
#include "modules/load_error.hpp"
#include "modules/option_checks.hpp"
#include "modules/text.hpp"

namespace esp {
namespace {

constexpr uint32_t kMaxComponents = 256;
constexpr uint32_t kMaxStructSize = 1u << 16;
constexpr size_t kMaxIdLength = 128;
constexpr size_t kMaxText = 1024;
constexpr uint64_t kKnownCaps = ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_ADAPTS |
                                ESP_CAP_ALIAS_REBIND | ESP_CAP_DETERMINISTIC | ESP_CAP_INFER;
constexpr uint64_t kCriticalCaps = 0xffffffff00000000ull;

struct Function {
  const char* name;
  bool present;
};

#define ESP_FUNCTION(table, field) \
  Function { #field, (table).field != nullptr }

std::vector<Function> required_functions(const esp_strategy_v1& t) {
  return {ESP_FUNCTION(t, plan), ESP_FUNCTION(t, prepare), ESP_FUNCTION(t, destroy), ESP_FUNCTION(t, state),
          ESP_FUNCTION(t, state_loaded)};
}

std::vector<Function> required_functions(const esp_model_v1& t) {
  return {ESP_FUNCTION(t, describe),     ESP_FUNCTION(t, plan),   ESP_FUNCTION(t, prepare),
          ESP_FUNCTION(t, init_range),   ESP_FUNCTION(t, bind),   ESP_FUNCTION(t, begin_micro),
          ESP_FUNCTION(t, forward_unit), ESP_FUNCTION(t, loss),   ESP_FUNCTION(t, backward_unit),
          ESP_FUNCTION(t, save),         ESP_FUNCTION(t, destroy)};
}

std::vector<Function> required_functions(const esp_dataset_v1& t) {
  return {ESP_FUNCTION(t, describe), ESP_FUNCTION(t, prepare), ESP_FUNCTION(t, fetch), ESP_FUNCTION(t, destroy)};
}

#undef ESP_FUNCTION

// One library under examination; every member throws LoadError.
class AnswerCheck {
 public:
  explicit AnswerCheck(std::string path) : path_(std::move(path)) {}

  void run(const esp_plugin* plugin) const {
    require(plugin != nullptr, 35, "its entry succeeds but answers NULL");
    check_size(plugin->struct_size, ESP_UPTO(esp_plugin, version), "esp_plugin");
    require(plugin->n_components >= 1 && plugin->n_components <= kMaxComponents && plugin->components != nullptr, 35,
            "it offers " + std::to_string(plugin->n_components) + " components; 1 to " +
                std::to_string(kMaxComponents) + " are possible");
    check_text(plugin->id, "esp_plugin.id");
    check_text(plugin->version, "esp_plugin.version");
    const std::span components(plugin->components, plugin->n_components);
    for (size_t i = 0; i < components.size(); ++i) {
      check_component(components[i], i);
      for (size_t j = 0; j < i; ++j) {
        require(std::string_view(components[i]->id) != components[j]->id, 36,
                "two components have the id \"" + std::string(components[i]->id) + "\"; ids are unique in a library");
      }
    }
  }

 private:
  void require(bool holds, int number, const std::string& text) const {
    if (!holds) throw LoadError(number, path_, text);
  }

  void check_size(uint32_t size, uint32_t least, const std::string& what) const {
    require(size >= least && size <= kMaxStructSize, 35,
            what + " has struct_size " + std::to_string(size) + ", version 1.0 has " + std::to_string(least) +
                "; set it with sizeof");
  }

  void check_text(const char* text, const std::string& what) const {
    require(text != nullptr, 35, what + " is NULL");
    const std::string_view value = bounded(text, kMaxText + 1);
    require(!value.empty() && value.size() <= kMaxText && is_plain_text(value), 35,
            what + " is not one line of UTF-8 with 1 to " + std::to_string(kMaxText) + " bytes");
  }

  void check_id(const char* id, size_t index) const {
    const std::string what = "the id of component " + std::to_string(index);
    require(id != nullptr, 36, what + " is NULL");
    const std::string_view text = bounded(id, kMaxIdLength + 1);
    bool well_formed = !text.empty() && text.size() <= kMaxIdLength && text[0] >= 'a' && text[0] <= 'z';
    for (const char c : text) {
      well_formed = well_formed && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-');
    }
    require(well_formed, 36,
            what + ", \"" + one_line(text) + "\", is ill-formed; ids look like local-sgd ([a-z][a-z0-9_-]*)");
  }

  void check_component(const esp_component* component, size_t index) const {
    require(component != nullptr, 35, "component " + std::to_string(index) + " is NULL");
    check_size(component->struct_size, ESP_UPTO(esp_component, table), "component " + std::to_string(index));
    require(component->kind != 0, 35, "component " + std::to_string(index) + " has no kind");
    check_id(component->id, index);
    const std::string kind = kind_name(component->kind);
    if (kind.empty()) return;
    const std::string owner = kind + " " + component->id;
    check_text(component->version, owner + ": its version");
    check_text(component->summary, owner + ": its summary");
    require(component->create != nullptr && component->table != nullptr, 38,
            owner + " lacks " + (component->create == nullptr ? "create" : "table"));
    require((component->caps & kCriticalCaps & ~kKnownCaps) == 0, 39,
            owner + " declares a capability that this host must know and does not; update the host");
    check_options(component->options, component->n_options, owner, path_);
    check_table(*component, owner);
  }

  void check_table(const esp_component& component, const std::string& owner) const {
    if (component.kind == ESP_MODEL) {
      check_functions<esp_model_v1>(component, ESP_MODEL_ID, ESP_UPTO(esp_model_v1, destroy), owner);
    } else if (component.kind == ESP_DATASET) {
      check_functions<esp_dataset_v1>(component, ESP_DATASET_ID, ESP_UPTO(esp_dataset_v1, destroy), owner);
    } else {
      const uint32_t least = ESP_UPTO(esp_strategy_v1, state_loaded);
      const auto table = check_functions<esp_strategy_v1>(component, ESP_STRATEGY_ID, least, owner);
      require((component.caps & ESP_CAP_ADAPTS) == 0 || table.adapt != nullptr, 39,
              owner + " declares ADAPTS but has no adapt");
    }
  }

  template <class Table>
  Table check_functions(const esp_component& component, const char* id, uint32_t least,
                        const std::string& owner) const {
    const void* offered = call_table(component, id, owner);
    require(offered != nullptr, 38, owner + " has no table " + id);
    const Table table = adopt<Table>(offered);
    uint32_t size = 0;
    std::memcpy(&size, offered, sizeof size);
    check_size(size, least, owner + ": " + id);
    std::string missing;
    for (const Function& function : required_functions(table)) {
      if (!function.present) missing += (missing.empty() ? "" : ", ") + std::string(function.name);
    }
    require(missing.empty(), 38, owner + ": its table " + id + " lacks " + missing);
    return table;
  }

  const void* call_table(const esp_component& component, const char* id, const std::string& owner) const {
    try {
      return component.table(id);
    } catch (...) {
      throw LoadError(34, path_, "an exception escaped from the function `table` of " + owner);
    }
  }

  std::string path_;
};

}  // namespace

std::string kind_name(uint32_t kind) {
  switch (kind) {
    case ESP_STRATEGY:
      return "strategy";
    case ESP_MODEL:
      return "model";
    case ESP_DATASET:
      return "dataset";
    default:
      return "";
  }
}

void check_answer(const esp_plugin* plugin, const std::string& path) { AnswerCheck(path).run(plugin); }

}  // namespace esp
