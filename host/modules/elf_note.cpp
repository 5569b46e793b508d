#include "modules/elf_note.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "modules/load_error.hpp"
#include "modules/mapped_file.hpp"
#include "modules/text.hpp"

namespace esp {
namespace {

constexpr uint32_t kNoteVersion = 1;

void check_text(std::span<const char> field, const char* name, const std::string& path) {
  const std::string_view text = bounded(field.data(), field.size());
  if (text.size() == field.size() || !is_plain_text(text)) {
    throw LoadError(13, path,
                    "its Espalier note is damaged: " + std::string(name) +
                        " is not a NUL-terminated line of UTF-8; use the ESP_NOTE macro");
  }
}

esp_note read_note(const ElfReader& elf, const std::string& path) {
  const auto notes = elf.notes(ESP_NOTE_NAME, ESP_NOTE_TYPE);
  if (notes.empty()) {
    throw LoadError(12, path,
                    "a shared library, but not an Espalier plugin (it has no note); build it with "
                    "espalier_add_plugin, or put ESP_NOTE into one of its sources");
  }
  if (notes.size() > 1) {
    throw LoadError(13, path, "it has " + std::to_string(notes.size()) + " Espalier notes; one library has one");
  }
  esp_note note{};
  if (notes[0].size() != sizeof note) {
    throw LoadError(13, path,
                    "its Espalier note has " + std::to_string(notes[0].size()) + " bytes, not " +
                        std::to_string(sizeof note) + "; build it again with the ESP_NOTE macro");
  }
  std::memcpy(&note, notes[0].data(), sizeof note);
  if (note.note_version != kNoteVersion) {
    throw LoadError(13, path,
                    "its Espalier note has version " + std::to_string(note.note_version) +
                        ", this host reads version " + std::to_string(kNoteVersion) + "; update the host");
  }
  check_text(note.plugin_id, "plugin_id", path);
  check_text(note.plugin_version, "plugin_version", path);
  check_text(note.torch_stamp, "torch_stamp", path);
  check_text(note.cuda, "cuda", path);
  check_text(note.compiler, "compiler", path);
  check_text(note.components, "components", path);
  return note;
}

}  // namespace

PluginFile parse_plugin_file(std::span<const std::byte> bytes, const std::string& path) {
  const ElfReader elf(bytes, path);
  PluginFile file;
  file.note = read_note(elf, path);
  file.needed = elf.needed();
  for (ElfSymbol& symbol : elf.exported()) {
    if (symbol.unique) file.unique_exports.push_back(symbol.name);
    file.exported.push_back(std::move(symbol.name));
  }
  file.version_needs = elf.version_needs();
  return file;
}

PluginFile read_plugin_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_plugin_file(file.bytes(), path.string());
}

}  // namespace esp
