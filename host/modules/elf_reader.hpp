// Reads tables of an ELF shared library out of bytes that nobody vouches for: every access is checked against the end.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace esp {

struct ElfSymbol {
  std::string name;
  bool unique = false;  // STB_GNU_UNIQUE
};

// A symbol version that a library asks of another one.
struct VersionNeed {
  std::string library, version;
};

// A view: the bytes must outlive it. Every member may throw LoadError L10 on damaged tables.
class ElfReader {
 public:
  // Checks header and segments. `path` is for messages. Throws LoadError L10 (not a whole shared library), L11
  // (machine).
  ElfReader(std::span<const std::byte> bytes, std::string path);

  // Descriptions of all notes of this name and type.
  std::vector<std::span<const std::byte>> notes(std::string_view name, uint32_t type) const;

  std::vector<std::string> needed() const;               // DT_NEEDED
  std::vector<ElfSymbol> exported() const;               // defined, visible dynamic symbols
  std::vector<VersionNeed> version_needs() const;        // weak ones left out
  std::vector<std::string> version_definitions() const;  // versions that this library offers

 private:
  template <class T>
  T at(uint64_t offset) const;
  [[noreturn]] void damaged(const std::string& what) const;
  void check_identity() const;
  void read_segments();
  void check_segment(const Elf64_Phdr& segment) const;
  void read_dynamic(const Elf64_Phdr& segment);
  uint64_t offset_of(uint64_t address) const;  // in the file
  std::optional<uint64_t> dynamic_value(int64_t tag) const;
  std::string string_at(uint64_t index) const;  // of the dynamic string table
  uint64_t symbol_count() const;
  uint64_t symbol_count_by_gnu_hash(uint64_t table) const;

  std::span<const std::byte> bytes_;
  std::string path_;
  std::vector<Elf64_Phdr> segments_;
  std::vector<Elf64_Dyn> dynamic_;
};

}  // namespace esp
