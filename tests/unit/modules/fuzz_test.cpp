// The reader of the byte stage against damaged bytes: it may refuse, it may accept, it must come back.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "modules/elf_note.hpp"
#include "plugin_bytes.hpp"

namespace esp {
namespace {

using test::PluginBytes;

// Bytes in an allocation of exactly their size, so that a sanitizer sees any access beyond.
void read_exactly(std::span<const std::byte> bytes) {
  const auto copy = std::make_unique<std::byte[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  try {
    parse_plugin_file({copy.get(), bytes.size()}, "fuzzed");
  } catch (const LoadError& error) {
    EXPECT_GE(error.number(), 10) << error.what();
    EXPECT_LE(error.number(), 13) << error.what();
  }
}

TEST(PluginBytes, WithRandomBytesFlippedNeverHarmTheReader) {
  const PluginBytes good;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    PluginBytes bad = good;
    for (uint32_t i = 0; i <= random() % 16; ++i) {
      bad.bytes[random() % bad.bytes.size()] = static_cast<std::byte>(random());
    }
    read_exactly(bad.bytes);
  }
}

// Most bytes of a file are code: headers and dynamic tables deserve more.
TEST(PluginBytes, WithDamagedTablesNeverHarmTheReader) {
  const PluginBytes good;
  const auto interesting = [&](PluginBytes& plugin, uint32_t which) -> std::span<std::byte> {
    const auto range = [&](uint64_t from, uint64_t size) { return std::span(plugin.bytes).subspan(from, size); };
    const Elf64_Phdr dynamic = plugin.segment(PT_DYNAMIC), note = plugin.segment(PT_NOTE);
    if (which == 0) return range(0, sizeof(Elf64_Ehdr));
    if (which == 1) return range(plugin.header().e_phoff, plugin.header().e_phnum * sizeof(Elf64_Phdr));
    if (which == 2) return range(dynamic.p_offset, dynamic.p_filesz);
    if (which == 3) return range(note.p_offset, note.p_filesz);
    return range(0, plugin.segment(PT_LOAD).p_filesz);  // symbols, hashes, versions, strings
  };
  for (uint32_t seed = 0; seed < 5000; ++seed) {
    std::mt19937 random(seed);
    PluginBytes bad = good;
    const auto target = interesting(bad, seed % 5);
    for (uint32_t i = 0; i <= random() % 4; ++i) {
      static constexpr unsigned kExtremes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
      const unsigned value = random() % 2 == 0 ? kExtremes[random() % 5] : random() % 256;
      target[random() % target.size()] = static_cast<std::byte>(value);
    }
    if (seed % 7 == 0) bad.bytes.resize(random() % bad.bytes.size());
    read_exactly(bad.bytes);
  }
}

}  // namespace
}  // namespace esp
