#include "modules/elf_reader.hpp"

#include <algorithm>
#include <cstring>

#include "modules/load_error.hpp"

namespace esp {
namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
#error "Espalier knows x86-64 and aarch64"
#endif

constexpr uint64_t kMaxSegments = 1024;
constexpr uint64_t kMaxVersions = 4096;  // names in version tables
constexpr uint64_t kMaxNameLength = 4096;
constexpr uint64_t kNoteHeader = 12;  // name size, description size, type

std::string machine_name(uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "aarch64";
    case EM_386:
      return "32-bit x86";
    case EM_ARM:
      return "32-bit ARM";
    case EM_PPC64:
      return "PowerPC64";
    case EM_RISCV:
      return "RISC-V";
    default:
      return "machine type " + std::to_string(machine);
  }
}

// What a file that is not ELF seems to be.
std::string guess(std::span<const std::byte> bytes) {
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 512));
  if (start.empty()) return "the file is empty";
  if (start.starts_with("MZ"))
    return "the file is a Windows DLL or program (PE); a Linux shared library (ELF) is needed";
  if (start.starts_with("!<arch>")) return "the file is a static library (.a); link it into a shared library";
  for (const std::string_view magic : {"\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe", "\xce\xfa\xed\xfe"}) {
    if (start.starts_with(magic)) return "the file is a macOS library (Mach-O); a Linux shared library (ELF) is needed";
  }
  const bool text =
      std::all_of(start.begin(), start.end(), [](unsigned char c) { return c >= 0x20 || (c >= 9 && c <= 13); });
  return text ? "the file is text, not a shared library" : "the file is not a shared library (no ELF header)";
}

constexpr uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

}  // namespace

ElfReader::ElfReader(std::span<const std::byte> bytes, std::string path) : bytes_(bytes), path_(std::move(path)) {
  check_identity();
  read_segments();
}

template <class T>
T ElfReader::at(uint64_t offset) const {
  if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T))
    damaged("a table reaches beyond the end of the file");
  T value;
  std::memcpy(&value, bytes_.data() + offset, sizeof value);
  return value;
}

void ElfReader::damaged(const std::string& what) const {
  throw LoadError(10, path_, "the ELF file is truncated or damaged: " + what + "; copy or build it again");
}

void ElfReader::check_identity() const {
  if (bytes_.size() < SELFMAG || std::memcmp(bytes_.data(), ELFMAG, SELFMAG) != 0)
    throw LoadError(10, path_, guess(bytes_));
  if (bytes_.size() < EI_NIDENT) damaged("the header is incomplete");
  const auto ident = [&](size_t i) { return std::to_integer<unsigned>(bytes_[i]); };
  if (ident(EI_CLASS) != ELFCLASS64)
    throw LoadError(11, path_, "32-bit library; this host is 64-bit " + machine_name(kMachine));
  if (ident(EI_DATA) != ELFDATA2LSB) throw LoadError(11, path_, "big-endian library; this host is little-endian");
  const auto header = at<Elf64_Ehdr>(0);
  if (header.e_machine != kMachine) {
    throw LoadError(11, path_, machine_name(header.e_machine) + " library; this host is " + machine_name(kMachine));
  }
  if (header.e_type == ET_REL) throw LoadError(10, path_, "an object file (.o), not a linked shared library");
  if (header.e_type != ET_DYN) throw LoadError(10, path_, "an ELF file, but not a shared library");
}

void ElfReader::read_segments() {
  const auto header = at<Elf64_Ehdr>(0);
  if (header.e_phnum == 0 || header.e_phnum > kMaxSegments || header.e_phentsize != sizeof(Elf64_Phdr)) {
    damaged("it has no usable program headers");
  }
  if (header.e_phoff < sizeof(Elf64_Ehdr)) damaged("program headers overlap the file header");
  const uint64_t sections_end = header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize;
  if (header.e_shoff != 0 && (header.e_shoff > bytes_.size() || sections_end > bytes_.size())) {
    damaged("section headers lie beyond the end of the file");
  }
  uint64_t loaded_to = 0;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    const auto segment = at<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr));
    check_segment(segment);
    if (segment.p_type == PT_LOAD) {
      if (segment.p_vaddr < loaded_to) damaged("segments overlap");
      loaded_to = segment.p_vaddr + segment.p_memsz;
    }
    segments_.push_back(segment);
  }
  const auto dynamic = std::find_if(segments_.begin(), segments_.end(), [](auto& s) { return s.p_type == PT_DYNAMIC; });
  if (dynamic == segments_.end()) damaged("it has no dynamic section");
  read_dynamic(*dynamic);
}

void ElfReader::check_segment(const Elf64_Phdr& segment) const {
  if (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC && segment.p_type != PT_NOTE) return;
  if (segment.p_offset > bytes_.size() || bytes_.size() - segment.p_offset < segment.p_filesz) {
    damaged("a segment lies beyond the end of the file");
  }
  const bool wraps = segment.p_vaddr + segment.p_memsz < segment.p_vaddr;
  if (wraps || segment.p_memsz < segment.p_filesz) damaged("a segment has impossible sizes");
}

void ElfReader::read_dynamic(const Elf64_Phdr& segment) {
  for (uint64_t i = 0; i < segment.p_filesz / sizeof(Elf64_Dyn); ++i) {
    const auto entry = at<Elf64_Dyn>(segment.p_offset + i * sizeof(Elf64_Dyn));
    if (entry.d_tag == DT_NULL) return;
    dynamic_.push_back(entry);
  }
}

uint64_t ElfReader::offset_of(uint64_t address) const {
  for (const Elf64_Phdr& segment : segments_) {
    if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz) {
      return segment.p_offset + (address - segment.p_vaddr);
    }
  }
  damaged("a table lies outside every segment");
}

std::optional<uint64_t> ElfReader::dynamic_value(int64_t tag) const {
  for (const Elf64_Dyn& entry : dynamic_) {
    if (entry.d_tag == tag) return entry.d_un.d_val;
  }
  return std::nullopt;
}

std::string ElfReader::string_at(uint64_t index) const {
  const auto table = dynamic_value(DT_STRTAB);
  const auto size = dynamic_value(DT_STRSZ);
  if (!table || !size || index >= *size) damaged("a name lies outside the string table");
  const uint64_t offset = offset_of(*table);
  if (*size > bytes_.size() - offset) damaged("the string table lies beyond the end of the file");
  const auto* start = reinterpret_cast<const char*>(bytes_.data() + offset + index);
  return {start, strnlen(start, std::min(*size - index, kMaxNameLength))};
}

std::vector<std::span<const std::byte>> ElfReader::notes(std::string_view name, uint32_t type) const {
  std::vector<std::span<const std::byte>> found;
  for (const Elf64_Phdr& segment : segments_) {
    if (segment.p_type != PT_NOTE) continue;
    const uint64_t alignment = segment.p_align == 8 ? 8 : 4;
    const uint64_t end = segment.p_offset + segment.p_filesz;
    for (uint64_t offset = segment.p_offset; end - offset >= kNoteHeader;) {
      const uint64_t name_size = at<uint32_t>(offset), desc_size = at<uint32_t>(offset + 4);
      const uint64_t desc = align_up(offset + kNoteHeader + name_size, alignment);
      if (desc > end || end - desc < desc_size) damaged("a note reaches beyond its segment");
      const auto* text = reinterpret_cast<const char*>(bytes_.data() + offset + kNoteHeader);
      // The name's size counts its terminating NUL.
      if (at<uint32_t>(offset + 8) == type && name_size == name.size() + 1 &&
          name == std::string_view(text, name.size())) {
        found.push_back(bytes_.subspan(desc, desc_size));
      }
      offset = std::min(align_up(desc + desc_size, alignment), end);
    }
  }
  return found;
}

std::vector<std::string> ElfReader::needed() const {
  std::vector<std::string> names;
  for (const Elf64_Dyn& entry : dynamic_) {
    if (entry.d_tag == DT_NEEDED) names.push_back(string_at(entry.d_un.d_val));
  }
  return names;
}

uint64_t ElfReader::symbol_count() const {
  if (const auto table = dynamic_value(DT_HASH)) return at<uint32_t>(offset_of(*table) + 4);
  if (const auto table = dynamic_value(DT_GNU_HASH)) return symbol_count_by_gnu_hash(offset_of(*table));
  return 0;
}

// The table has no count: the last symbol is the end of the chain that starts highest.
uint64_t ElfReader::symbol_count_by_gnu_hash(uint64_t table) const {
  const uint64_t n_buckets = at<uint32_t>(table), first = at<uint32_t>(table + 4), bloom = at<uint32_t>(table + 8);
  const uint64_t buckets = table + 16 + bloom * sizeof(uint64_t), chains = buckets + n_buckets * sizeof(uint32_t);
  uint64_t last = 0;
  for (uint64_t i = 0; i < n_buckets; ++i)
    last = std::max<uint64_t>(last, at<uint32_t>(buckets + i * sizeof(uint32_t)));
  if (last < first) return first;  // no symbol is defined
  while ((at<uint32_t>(chains + (last - first) * sizeof(uint32_t)) & 1u) == 0) ++last;
  return last + 1;
}

std::vector<ElfSymbol> ElfReader::exported() const {
  std::vector<ElfSymbol> symbols;
  const auto table = dynamic_value(DT_SYMTAB);
  if (!table) return symbols;
  const uint64_t offset = offset_of(*table), count = symbol_count();
  for (uint64_t i = 1; i < count; ++i) {
    const auto symbol = at<Elf64_Sym>(offset + i * sizeof(Elf64_Sym));
    const unsigned binding = ELF64_ST_BIND(symbol.st_info), visibility = ELF64_ST_VISIBILITY(symbol.st_other);
    const bool global = binding == STB_GLOBAL || binding == STB_WEAK || binding == STB_GNU_UNIQUE;
    const bool visible = visibility == STV_DEFAULT || visibility == STV_PROTECTED;
    const bool defined = symbol.st_shndx != SHN_UNDEF && symbol.st_shndx != SHN_ABS;  // ABS: names of versions
    if (global && visible && defined) symbols.push_back({string_at(symbol.st_name), binding == STB_GNU_UNIQUE});
  }
  return symbols;
}

std::vector<VersionNeed> ElfReader::version_needs() const {
  std::vector<VersionNeed> needs;
  const auto table = dynamic_value(DT_VERNEED);
  if (!table) return needs;
  uint64_t visited = 0;
  for (uint64_t offset = offset_of(*table);;) {
    const auto library = at<Elf64_Verneed>(offset);
    const std::string name = string_at(library.vn_file);
    uint64_t entry = offset + library.vn_aux;
    for (unsigned i = 0; i < library.vn_cnt; ++i) {
      if (++visited > kMaxVersions) damaged("the table of needed versions has no end");
      const auto version = at<Elf64_Vernaux>(entry);
      if ((version.vna_flags & VER_FLG_WEAK) == 0) needs.push_back({name, string_at(version.vna_name)});
      entry += version.vna_next;
    }
    if (library.vn_next == 0) return needs;
    if (++visited > kMaxVersions) damaged("the table of needed versions has no end");
    offset += library.vn_next;
  }
}

std::vector<std::string> ElfReader::version_definitions() const {
  std::vector<std::string> names;
  const auto table = dynamic_value(DT_VERDEF);
  if (!table) return names;
  for (uint64_t offset = offset_of(*table);;) {
    const auto definition = at<Elf64_Verdef>(offset);
    names.push_back(string_at(at<Elf64_Verdaux>(offset + definition.vd_aux).vda_name));
    if (definition.vd_next == 0) return names;
    if (names.size() > kMaxVersions) damaged("the table of versions has no end");
    offset += definition.vd_next;
  }
}

}  // namespace esp
