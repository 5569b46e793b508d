// host plugins list | inspect: what libraries there are, and what one offers.
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.hpp"
#include "cli/option_json.hpp"
#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "modules/answer_checks.hpp"
#include "modules/elf_note.hpp"
#include "modules/file_checks.hpp"
#include "modules/load_error.hpp"
#include "modules/module.hpp"
#include "modules/search.hpp"

namespace esp::cli {
namespace {

constexpr int kNoNote = 12;  // a shared library that is no plugin

struct CapabilityName {
  uint64_t bit;
  const char* name;
};
constexpr CapabilityName kCapabilities[] = {{ESP_CAP_CPU, "cpu"},
                                            {ESP_CAP_CUDA, "cuda"},
                                            {ESP_CAP_CAPTURE_STEP, "capture-step"},
                                            {ESP_CAP_ADAPTS, "adapts"},
                                            {ESP_CAP_INFER, "infer"},
                                            {ESP_CAP_ALIAS_REBIND, "alias-rebind"},
                                            {ESP_CAP_DETERMINISTIC, "deterministic"}};

struct FlagName {
  uint32_t bit;
  const char* name;
};
constexpr FlagName kOptionFlags[] = {{ESP_OPT_REQUIRED, "required"},           {ESP_OPT_SWEEPABLE, "sweepable"},
                                     {ESP_OPT_ADVANCED, "advanced"},           {ESP_OPT_DEPRECATED, "deprecated"},
                                     {ESP_OPT_AFFECTS_STATE, "affects state"}, {ESP_OPT_OR_NAME, "or a name"}};

// By ESP_OPT_ number.
constexpr const char* kTypes[] = {"",     "bool",     "integer", "number",   "text",    "choice",
                                  "size", "duration", "path",    "integers", "numbers", "texts"};

// One plugin file as `list` shows it.
struct Entry {
  std::filesystem::path path;
  esp_note note{};
  std::string refusal;  // empty: its bytes are in order
};

template <class Names>
std::vector<std::string> names_of(uint64_t bits, const Names& names) {
  std::vector<std::string> result;
  for (const auto& [bit, name] : names) {
    if ((bits & bit) != 0) result.emplace_back(name);
  }
  return result;
}

std::string join(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

std::string minor_version(const esp_note& note, uint32_t minor) {
  return std::to_string(note.abi_major) + "." + std::to_string(minor);
}

// Nothing for libraries that are no plugins. Reads bytes only.
std::optional<Entry> read_entry(const std::filesystem::path& path) {
  Entry entry{path, {}, ""};
  try {
    const PluginFile file = read_plugin_file(path);
    entry.note = file.note;
    check_plugin_file(file, path.filename().string());
  } catch (const LoadError& error) {
    if (error.number() == kNoNote) return std::nullopt;
    entry.refusal = error.what();
  } catch (const Error& error) {
    entry.refusal = error.what();
  }
  return entry;
}

std::vector<Entry> scan(const std::vector<std::filesystem::path>& folders) {
  std::vector<Entry> entries;
  for (const auto& folder : folders) {
    for (const std::string& name : shared_libraries_in(folder)) {
      if (auto entry = read_entry(folder / name)) entries.push_back(std::move(*entry));
    }
  }
  return entries;
}

Json to_json(const esp_note& note) {
  return {{"id", note.plugin_id},
          {"version", note.plugin_version},
          {"abi", minor_version(note, note.abi_minor_built)},
          {"abi_needed", minor_version(note, note.abi_minor_needed)},
          {"torch", note.torch_tier == ESP_TORCH_NONE ? "none" : note.torch_stamp},
          {"cuda", note.cuda},
          {"compiler", note.compiler}};
}

void print_list(const std::vector<Entry>& entries, std::ostream& out) {
  size_t width = 0;
  for (const Entry& entry : entries) width = std::max(width, entry.path.filename().string().size());
  std::filesystem::path folder;
  for (const Entry& entry : entries) {
    if (entry.path.parent_path() != folder) out << (folder = entry.path.parent_path()).string() << '\n';
    out << "  " << std::left << std::setw(static_cast<int>(width)) << entry.path.filename().string() << "  ";
    if (entry.refusal.empty()) {
      out << entry.note.components << "  " << entry.note.plugin_id << ' ' << entry.note.plugin_version << '\n';
    } else {
      out << "cannot be loaded: " << entry.refusal << '\n';
    }
  }
}

// A value as users write it, without TOML's quotes.
std::string plain(const esp_value& value) {
  const std::string text = value_text(value);
  const bool is_quoted = text.size() >= 2 && text.front() == '"' && text.find('\\') == std::string::npos;
  return is_quoted ? text.substr(1, text.size() - 2) : text;
}

std::vector<std::string> choices_of(const esp_option& option) {
  return {option.choices, option.choices + option.n_choices};
}

std::string range_of(const esp_option& option) {
  if (option.type == ESP_OPT_ENUM) return join(choices_of(option), "|");
  if (option.min.type == 0 && option.max.type == 0) return "";
  return plain(option.min) + ".." + plain(option.max);
}

std::string default_of(const esp_option& option) {
  if (option.def.type == 0) return "(required)";
  const std::string text = plain(option.def);
  return text.empty() ? "\"\"" : text;
}

Json to_json(const esp_option& option) {
  Json json{{"key", option.key},
            {"type", kTypes[option.type]},
            {"default", value_json(option.def)},
            {"min", value_json(option.min)},
            {"max", value_json(option.max)},
            {"flags", names_of(option.flags, kOptionFlags)},
            {"doc", option.doc}};
  if (option.type == ESP_OPT_ENUM) json["choices"] = choices_of(option);
  if (option.since != nullptr) json["since"] = option.since;
  if (option.replaced_by != nullptr) json["replaced_by"] = option.replaced_by;
  return json;
}

Json to_json(const ModuleComponent& component) {
  Json json{{"kind", kind_name(component.component.kind)},
            {"id", component.component.id},
            {"version", component.component.version},
            {"summary", component.component.summary},
            {"capabilities", capability_names(component.component.caps)},
            {"options", Json::array()}};
  for (const esp_option& option : component.options) json["options"].push_back(to_json(option));
  return json;
}

// Columns as wide as their longest cell, two spaces apart; nothing behind the last one.
void print_table(const std::vector<std::vector<std::string>>& rows, std::ostream& out) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line = "   ";
    for (size_t i = 0; i < row.size(); ++i) {
      if (widths[i] > 0) line += " " + row[i] + std::string(widths[i] - row[i].size() + 1, ' ');
    }
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  }
}

void print_component(const ModuleComponent& component, std::ostream& out) {
  out << "  " << kind_name(component.component.kind) << ' ' << component.component.id << "   "
      << component.component.summary;
  const std::string caps = join(capability_names(component.component.caps), " ");
  out << (caps.empty() ? "" : "   [" + caps + "]") << '\n';
  std::vector<std::vector<std::string>> rows;
  for (const esp_option& option : component.options) {
    std::string notes = join(flag_names(option.flags), ", ");
    if (option.replaced_by != nullptr) notes += std::string(notes.empty() ? "" : ", ") + "use " + option.replaced_by;
    rows.push_back({option.key, kTypes[option.type], default_of(option), range_of(option), option.doc, notes});
  }
  print_table(rows, out);
}

void print_header(const Module& module, std::ostream& out) {
  const esp_note& note = module.note;
  out << module.path.filename().string() << "  " << module.id << ' ' << module.version << "   ABI "
      << minor_version(note, note.abi_minor_built) << " (needs " << minor_version(note, note.abi_minor_needed)
      << ")   torch: " << (note.torch_tier == ESP_TORCH_NONE ? "none" : note.torch_stamp)
      << "   cuda: " << (note.cuda[0] == '\0' ? "none" : note.cuda) << "   " << note.compiler << '\n';
}

}  // namespace

std::string table_of(uint32_t kind) {
  if (kind == ESP_MODEL) return "model";
  return kind == ESP_DATASET ? "data" : "strategy";
}

std::vector<std::string> capability_names(uint64_t caps) { return names_of(caps, kCapabilities); }

std::vector<std::string> flag_names(uint32_t flags) { return names_of(flags & ~ESP_OPT_REQUIRED, kOptionFlags); }

Json value_json(const esp_value& value) {
  switch (value.type) {
    case ESP_OPT_BOOL:
      return value.v.i != 0;
    case ESP_OPT_I64:
      return value.v.i;
    case ESP_OPT_F64:
    case ESP_OPT_DURATION:
      return value.v.f;
    case ESP_OPT_BYTES:
      return value.v.u;
    case ESP_OPT_LIST_I64: {
      const auto* list = static_cast<const int64_t*>(value.v.list);
      return std::vector<int64_t>(list, list + value.n);
    }
    case ESP_OPT_LIST_F64: {
      const auto* list = static_cast<const double*>(value.v.list);
      return std::vector<double>(list, list + value.n);
    }
    case ESP_OPT_LIST_STR: {
      const auto* list = static_cast<const char* const*>(value.v.list);
      return std::vector<std::string>(list, list + value.n);
    }
    case 0:
      return nullptr;
    default:
      return value.v.s;
  }
}

std::vector<const ModuleComponent*> select_components(const Module& module, const std::string& id) {
  if (id.empty()) return module.components;
  std::vector<std::string> ids;
  for (const ModuleComponent* component : module.components) {
    if (id == component->component.id) return {component};
    ids.emplace_back(component->component.id);
  }
  throw LoadError(50, module.path.filename().string(), "it has no component \"" + id + "\", only " + join(ids, ", "));
}

int plugins_list(std::ostream& out, bool json) {
  const std::vector<std::filesystem::path> folders = plugin_folders();
  const std::vector<Entry> entries = scan(folders);
  if (json) {
    Json list = Json::array();
    for (const Entry& entry : entries) {
      Json one = to_json(entry.note);
      one["path"] = entry.path.string();
      one["components"] = entry.note.components;
      one["refusal"] = entry.refusal;
      list.push_back(std::move(one));
    }
    out << list.dump(2) << '\n';
  } else if (entries.empty()) {
    out << "no plugins in";
    for (const auto& folder : folders) out << ' ' << folder.string();
    out << '\n';
  } else {
    print_list(entries, out);
  }
  return static_cast<int>(ExitCode::kOk);
}

int plugins_inspect(const std::string& name, bool json, std::ostream& out) {
  const auto [file, id] = split_plugin_name(name);
  const Module& module = load_module(file, Probe::kChild);
  const std::vector<const ModuleComponent*> components = select_components(module, id);
  if (json) {
    Json description = to_json(module.note);
    description["path"] = module.path.string();
    description["warnings"] = module.warnings;
    description["components"] = Json::array();
    for (const ModuleComponent* component : components) description["components"].push_back(to_json(*component));
    out << description.dump(2) << '\n';
    return static_cast<int>(ExitCode::kOk);
  }
  print_header(module, out);
  for (const ModuleComponent* component : components) print_component(*component, out);
  for (const std::string& warning : module.warnings) out << "  warning: " << warning << '\n';
  return static_cast<int>(ExitCode::kOk);
}

}  // namespace esp::cli
