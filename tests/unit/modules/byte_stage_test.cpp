// Files that are refused by their bytes alone: L10 to L20, and the warning L22.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "modules/elf_note.hpp"
#include "modules/file_checks.hpp"
#include "modules/libtorch.hpp"
#include "plugin_bytes.hpp"

namespace esp {
namespace {

using test::expect_refusal;
using test::fixture;
using test::PluginBytes;
using test::TemporaryFolder;

PluginFile parse(const PluginBytes& plugin) { return parse_plugin_file(plugin.bytes, "libtoy.so"); }

void expect_bytes_refused(int number, std::string_view part, const PluginBytes& plugin) {
  expect_refusal(number, part, [&] { parse(plugin); });
}

void expect_check_refused(int number, std::string_view part, const PluginBytes& plugin, const HostAbi& host = {}) {
  expect_refusal(number, part, [&] { check_plugin_file(parse(plugin), "libtoy.so", host); });
}

void expect_content_refused(int number, std::string_view part, std::string_view content) {
  expect_refusal(number, part,
                 [&] { parse_plugin_file(std::as_bytes(std::span(content.data(), content.size())), "libtoy.so"); });
}

TEST(PluginBytes, OfAGoodPluginTellWhatItsNoteSays) {
  const PluginFile file = read_plugin_file(fixture("toy"));
  EXPECT_STREQ(file.note.plugin_id, "org.example.toy");
  EXPECT_STREQ(file.note.plugin_version, "1.2.3");
  EXPECT_STREQ(file.note.components, "strategy:toy");
  EXPECT_EQ(file.note.abi_major, ESP_ABI_MAJOR);
  EXPECT_EQ(file.note.sdk_hash, ESP_SDK_HASH);
  EXPECT_EQ(file.exported, std::vector<std::string>{ESP_ENTRY_SYMBOL});
  EXPECT_EQ(file.needed, std::vector<std::string>{"libc.so.6"});
  ASSERT_FALSE(file.version_needs.empty());
  EXPECT_EQ(file.version_needs[0].library, "libc.so.6");
  EXPECT_EQ(file.version_needs[0].version.substr(0, 6), "GLIBC_");
  EXPECT_TRUE(check_plugin_file(file, "libtoy.so").empty());
}

TEST(PluginBytes, SayWhatAFileIsThatIsNoSharedLibrary) {
  expect_content_refused(10, "empty", "");
  expect_content_refused(10, "text", "[run]\nplugin = \"libtoy.so\"\n");
  expect_content_refused(10, "Windows", "MZ\x90\x01");
  expect_content_refused(10, "static library", "!<arch>\n/");
  expect_content_refused(10, "macOS", std::string_view("\xcf\xfa\xed\xfe\x07\x00", 6));
  expect_content_refused(10, "no ELF header", std::string_view("\x00\x01\x02", 3));
  expect_content_refused(10, "incomplete",
                         "\x7f"
                         "ELF\x02\x01");
}

TEST(PluginBytes, RefuseFoldersPipesAndFilesThatAreNotThere) {
  const TemporaryFolder folder;
  expect_refusal(10, "is a folder", [&] { read_plugin_file(folder.path()); });
  expect_refusal(10, "cannot be read", [&] { read_plugin_file(folder.path() / "nothing.so"); });
  ASSERT_EQ(mkfifo((folder.path() / "pipe.so").c_str(), 0600), 0);
  expect_refusal(10, "regular file", [&] { read_plugin_file(folder.path() / "pipe.so"); });
  expect_refusal(10, "empty", [&] { read_plugin_file(folder.write("empty.so", "")); });
}

TEST(PluginBytes, RefuseOtherKindsOfElfFiles) {
  PluginBytes object;
  object.header().e_type = ET_REL;
  expect_bytes_refused(10, "object file", object);
  PluginBytes program;
  program.header().e_type = ET_EXEC;
  expect_bytes_refused(10, "not a shared library", program);
}

TEST(PluginBytes, RefuseOtherMachines) {
  PluginBytes narrow;
  narrow.header().e_ident[EI_CLASS] = ELFCLASS32;
  expect_bytes_refused(11, "32-bit", narrow);
  PluginBytes big_endian;
  big_endian.header().e_ident[EI_DATA] = ELFDATA2MSB;
  expect_bytes_refused(11, "big-endian", big_endian);
  PluginBytes other;
  other.header().e_machine = other.header().e_machine == EM_AARCH64 ? EM_X86_64 : EM_AARCH64;
  expect_bytes_refused(11, other.header().e_machine == EM_AARCH64 ? "aarch64 library" : "x86-64 library", other);
}

TEST(PluginBytes, RefuseATruncatedFileAtEveryLength) {
  const PluginBytes whole;
  for (size_t length = 0; length < whole.bytes.size(); length += 61) {
    PluginBytes cut = whole;
    cut.bytes.resize(length);
    expect_bytes_refused(10, "", cut);
  }
}

TEST(PluginBytes, RefuseImpossibleHeaders) {
  PluginBytes overlapping;
  overlapping.header().e_phoff = 8;
  expect_bytes_refused(10, "overlap", overlapping);
  PluginBytes colliding;
  colliding.segment(PT_LOAD, 1).p_vaddr = colliding.segment(PT_LOAD, 0).p_vaddr;
  expect_bytes_refused(10, "overlap", colliding);
  PluginBytes none;
  none.header().e_phnum = 0;
  expect_bytes_refused(10, "program headers", none);
  PluginBytes beyond;
  beyond.segment(PT_NOTE).p_filesz = ~0ull;
  expect_bytes_refused(10, "beyond the end", beyond);
  PluginBytes without_dynamic;
  without_dynamic.segment(PT_DYNAMIC).p_type = PT_NULL;
  expect_bytes_refused(10, "dynamic", without_dynamic);
}

TEST(PluginBytes, RefuseALibraryWithoutANote) {
  expect_refusal(12, "not an Espalier plugin", [] { read_plugin_file(fixture("no_note")); });
}

TEST(PluginBytes, RefuseADamagedNote) {
  PluginBytes longer;
  longer.note().desc_size += 8;
  expect_bytes_refused(10, "beyond its segment", longer);
  PluginBytes shorter;
  shorter.note().desc_size -= 64;
  expect_bytes_refused(13, "448 bytes, not 512", shorter);
  PluginBytes newer;
  newer.note().desc.note_version = 2;
  expect_bytes_refused(13, "version 2", newer);
  PluginBytes endless;
  std::memset(endless.note().desc.plugin_id, 'x', sizeof endless.note().desc.plugin_id);
  expect_bytes_refused(13, "plugin_id", endless);
  PluginBytes escape;
  std::strcpy(escape.note().desc.compiler, "\x1b[31mred");
  expect_bytes_refused(13, "compiler", escape);
  PluginBytes latin1;
  std::strcpy(latin1.note().desc.components, "caf\xe9");
  expect_bytes_refused(13, "components", latin1);
  expect_refusal(13, "2 Espalier notes", [] { read_plugin_file(fixture("two_notes")); });
}

TEST(PluginBytes, RefuseAnotherMajor) {
  PluginBytes plugin;
  plugin.note().desc.abi_major = 2;
  expect_check_refused(14, "built for ABI 2, this host speaks 1", plugin);
}

TEST(PluginBytes, RefuseANewerMinor) {
  PluginBytes plugin;
  plugin.note().desc.abi_minor_needed = 4;
  expect_check_refused(15, "needs ABI 1.4, this host has 1.0", plugin);
}

TEST(PluginBytes, AcceptAPluginBuiltForANewerMinorThatNeedsOnlyThisOne) {
  PluginBytes plugin;
  plugin.note().desc.abi_minor_built = 4;
  EXPECT_TRUE(check_plugin_file(parse(plugin), "libtoy.so").empty());
}

TEST(PluginBytes, RefuseAMinorBelowTheFloor) {
  expect_check_refused(16, "built for ABI 1.0, this host honours 1.3 and up", PluginBytes(),
                       HostAbi{.minor = 5, .minor_floor = 3});
}

TEST(PluginBytes, RefuseOtherHeadersWhileTheAbiIsADraft) {
  PluginBytes plugin;
  plugin.note().desc.sdk_hash ^= 1;
  expect_check_refused(19, "other SDK headers", plugin, HostAbi{.draft = true});
  EXPECT_TRUE(check_plugin_file(parse(plugin), "libtoy.so", HostAbi{.draft = false}).empty());
}

TEST(PluginBytes, RefuseALibraryWhoseEntryIsNotExported) {
  expect_refusal(17, ESP_ENTRY_SYMBOL, [] { check_plugin_file(read_plugin_file(fixture("no_entry")), "libtoy.so"); });
}

TEST(PluginBytes, RefuseALibraryThatNeedsANewerSystemLibrary) {
  PluginFile file = parse(PluginBytes());
  file.version_needs.push_back({"libc.so.6", "GLIBC_9.99"});
  expect_refusal(18, "requires GLIBC_9.99 of libc.so.6, this system has up to GLIBC_2.",
                 [&] { check_plugin_file(file, "libtoy.so"); });
  file.version_needs.back() = {"libstdc++.so.6", "GLIBCXX_3.4.999"};
  expect_refusal(18, "this system has up to GLIBCXX_3.4.", [&] { check_plugin_file(file, "libtoy.so"); });
  file.version_needs.back() = {"libunheardof.so.1", "UNHEARD_1"};  // the linker will say
  EXPECT_NO_THROW(check_plugin_file(file, "libtoy.so"));
}

TEST(PluginBytes, RefuseAnotherTorch) {
  PluginBytes plugin;
  plugin.note().desc.torch_tier = ESP_TORCH_EXACT;
  std::strcpy(plugin.note().desc.torch_stamp, "2.9.1+cu128 cxx11");
  expect_check_refused(20, "built for torch 2.9.1+cu128 cxx11, this process has " + find_libtorch().stamp(), plugin);
  std::strcpy(plugin.note().desc.torch_stamp, find_libtorch().version.c_str());  // no cxx11
  expect_check_refused(20, "built for torch", plugin);
  plugin.note().desc.torch_tier = 7;
  expect_check_refused(20, "tier 7", plugin);
}

TEST(PluginBytes, AcceptTheSameTorchAndWarnOfAnotherTag) {
  PluginBytes plugin;
  plugin.note().desc.torch_tier = ESP_TORCH_EXACT;
  std::strcpy(plugin.note().desc.torch_stamp, find_libtorch().stamp().c_str());
  EXPECT_TRUE(check_plugin_file(parse(plugin), "libtoy.so").empty());
  std::strcpy(plugin.note().desc.torch_stamp, (find_libtorch().version + "+other cxx11").c_str());
  const auto warnings = check_plugin_file(parse(plugin), "libtoy.so");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].substr(0, 4), "L20 ");
  plugin.note().desc.torch_tier = ESP_TORCH_STABLE;
  std::strcpy(plugin.note().desc.torch_stamp, "2.10.0");
  EXPECT_TRUE(check_plugin_file(parse(plugin), "libtoy.so").empty());
  std::strcpy(plugin.note().desc.torch_stamp, "99.0.0");
  expect_check_refused(20, "built for torch 99.0.0", plugin);
}

TEST(PluginBytes, RefuseATorchLibraryThatTheNoteHides) {
  PluginFile file = parse(PluginBytes());
  file.needed.push_back("libtorch_cpu.so");
  expect_refusal(20, "needs libtorch_cpu.so", [&] { check_plugin_file(file, "libtoy.so"); });
}

TEST(PluginBytes, WarnOfFurtherExports) {
  const auto warnings = check_plugin_file(read_plugin_file(fixture("extra_export")), "libtoy.so");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].substr(0, 14), "L22 libtoy.so:");
  EXPECT_NE(warnings[0].find("(toy_helper)"), std::string::npos) << warnings[0];
  PluginFile file = parse(PluginBytes());
  file.unique_exports = {"a", "b", "c", "d", "e"};
  EXPECT_NE(check_plugin_file(file, "libtoy.so").at(0).find("a, b, c and 2 more"), std::string::npos);
}

}  // namespace
}  // namespace esp
