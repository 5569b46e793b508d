// host plugins schema | example: what editors and beginners want to know of a library's options.
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/option_json.hpp"
#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "error.hpp"
#include "modules/answer_checks.hpp"
#include "modules/module.hpp"

namespace esp::cli {
namespace {

void add_bounds(const esp_option& option, Json& schema) {
  if (option.type == ESP_OPT_BYTES) schema["minimum"] = 0;
  if (option.min.type != 0) schema["minimum"] = value_json(option.min);
  if (option.max.type != 0) schema["maximum"] = value_json(option.max);
}

Json list_of(const char* element) { return {{"type", "array"}, {"items", {{"type", element}}}}; }

// What TOML may hold there: sizes and durations are numbers or texts with a unit.
Json type_schema(const esp_option& option) {
  Json number{{"type", option.type == ESP_OPT_BYTES || option.type == ESP_OPT_I64 ? "integer" : "number"}};
  add_bounds(option, number);
  switch (option.type) {
    case ESP_OPT_BOOL:
      return {{"type", "boolean"}};
    case ESP_OPT_I64:
    case ESP_OPT_F64:
      return number;
    case ESP_OPT_BYTES:
      return {{"anyOf", {number, {{"type", "string"}, {"pattern", "^ *[0-9.]+ *([kKMGTP]i?)?B? *$"}}}}};
    case ESP_OPT_DURATION:
      return {{"anyOf", {number, {{"type", "string"}, {"pattern", "^ *[0-9.]+ *[a-z]* *$"}}}}};
    case ESP_OPT_LIST_I64:
      return list_of("integer");
    case ESP_OPT_LIST_F64:
      return list_of("number");
    case ESP_OPT_LIST_STR:
      return list_of("string");
    default:
      return {{"type", "string"}};
  }
}

Json key_schema(const esp_option& option) {
  Json schema = type_schema(option);
  if (option.doc != nullptr && option.doc[0] != '\0') schema["description"] = option.doc;
  if (option.type == ESP_OPT_ENUM)
    schema["enum"] = std::vector<std::string>(option.choices, option.choices + option.n_choices);
  if (option.def.type != 0) schema["default"] = value_json(option.def);
  if ((option.flags & ESP_OPT_DEPRECATED) != 0) schema["deprecated"] = true;
  return schema;
}

void add_keys(std::span<const esp_option* const> options, Json& table) {
  for (const esp_option* option : options) {
    table["properties"][option->key] = key_schema(*option);
    if ((option->flags & ESP_OPT_REQUIRED) != 0) table["required"].push_back(option->key);
  }
}

Json empty_table() { return {{"type", "object"}, {"properties", Json::object()}}; }

// Of one kind the schema can describe one component alone.
void check_one_a_table(const Module& module, const std::vector<const ModuleComponent*>& components) {
  for (const uint32_t kind : {ESP_STRATEGY, ESP_MODEL, ESP_DATASET}) {
    std::string ids;
    int n = 0;
    for (const ModuleComponent* component : components) {
      if (component->component.kind != kind) continue;
      ids += (n++ > 0 ? ", " : "") + std::string(component->component.id);
    }
    if (n > 1) {
      const std::string file = module.path.filename().string();
      throw Error(ExitCode::kUsage, file + " has several of a kind (" + ids + "): name one, " + file + ":ID");
    }
  }
}

std::vector<const ModuleComponent*> chosen(const Module& module, const std::string& id) {
  std::vector<const ModuleComponent*> components = select_components(module, id);
  check_one_a_table(module, components);
  return components;
}

bool has_kind(const std::vector<const ModuleComponent*>& components, uint32_t kind) {
  for (const ModuleComponent* component : components) {
    if (component->component.kind == kind) return true;
  }
  return false;
}

}  // namespace

int plugins_schema(const std::string& name, std::ostream& out) {
  const auto [file, id] = split_plugin_name(name);
  const Module& module = load_module(file, Probe::kChild);
  const std::vector<const ModuleComponent*> components = chosen(module, id);
  Json schema{{"$schema", "http://json-schema.org/draft-07/schema#"},
              {"title", "host run with " + module.path.filename().string()},
              {"type", "object"},
              {"properties", Json::object()},
              {"additionalProperties", false}};
  for (const KeyTable& table : host_keys()) {
    schema["properties"][table.name] = empty_table();
    add_keys(table.keys, schema["properties"][table.name]);
  }
  schema["properties"]["strategy"] = empty_table();
  for (const ModuleComponent* component : components) {
    add_keys(component->option_list, schema["properties"][table_of(component->component.kind)]);
  }
  // A table is closed where this library says all of its keys; in the others another library's may stand.
  for (const uint32_t kind : {ESP_STRATEGY, ESP_MODEL, ESP_DATASET}) {
    if (has_kind(components, kind)) schema["properties"][table_of(kind)]["additionalProperties"] = false;
  }
  for (const char* table : {"run", "train", "optimizer", "bench"})
    schema["properties"][table]["additionalProperties"] = false;
  out << schema.dump(2) << '\n';
  return static_cast<int>(ExitCode::kOk);
}

int plugins_example(const std::string& name, std::ostream& out) {
  const auto [file, id] = split_plugin_name(name);
  const Module& module = load_module(file, Probe::kChild);
  const std::vector<const ModuleComponent*> components = chosen(module, id);
  const bool is_strategy = has_kind(components, ESP_STRATEGY);
  out << "# host run -c run.toml     keys with a # have the value that they show\n[run]\nplugin = "
      << Json(is_strategy ? file : std::string("libddp.so")).dump() << "\nnproc = 1\n";
  for (const ModuleComponent* component : components) {
    const std::string table = table_of(component->component.kind);
    out << "\n[" << table << "]  # " << component->component.summary << '\n';
    if (component->component.kind != ESP_STRATEGY) out << "module = " << Json(file).dump() << '\n';
    for (const esp_option& option : component->options) {
      if ((option.flags & ESP_OPT_DEPRECATED) != 0) continue;
      const bool required = (option.flags & ESP_OPT_REQUIRED) != 0;
      const std::string value = value_text(option.def);
      out << "# " << option.doc << " (" << expectation(option) << ")\n"
          << (required ? "" : "#") << option.key << " = " << (required && value.empty() ? "\"\"  # to be given" : value)
          << '\n';
    }
  }
  return static_cast<int>(ExitCode::kOk);
}

}  // namespace esp::cli
