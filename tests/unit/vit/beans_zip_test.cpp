// Official zips, and archives that lie.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "beans/sample_source.hpp"
#include "beans/zip_archive.hpp"
#include "beans_fixture.hpp"

namespace esp::vit::test {
namespace {

constexpr uint32_t kSymlink = 0120777u << 16;
constexpr uint32_t kRegular = 0100644u << 16;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

// What opening `bytes` as an archive fails with.
std::string open_failure(const std::string& bytes, const ZipLimits& limits = {}) {
  const ScratchFolder folder;
  write_file(folder / "x.zip", bytes);
  return failure_of([&] { ZipArchive(folder / "x.zip", limits); });
}

// What reading the only member fails with.
std::string read_failure(const ZipEntry& entry, const ZipLimits& limits = {}) {
  const ScratchFolder folder;
  write_file(folder / "x.zip", make_zip({entry}));
  const ZipArchive archive(folder / "x.zip", limits);
  std::vector<uint8_t> out;
  return failure_of([&] { archive.read(archive.members().at(0), out); });
}

std::string name_failure(const std::string& name) { return open_failure(make_zip({{.name = name, .data = "x"}})); }

std::string zip_of_split(const std::string& split) {
  return make_zip({{.name = split + "/"},
                   {.name = split + "/rust/"},
                   {.name = split + "/rust/r.2.jpg", .data = "second", .deflate = true},
                   {.name = split + "/rust/r.10.jpg", .data = "first", .attributes = kRegular},
                   {.name = split + "/healthy/h.jpg", .data = std::string(5000, 'h'), .deflate = true},
                   {.name = split + "/healthy/h.120tore", .data = "stray"},
                   {.name = "__MACOSX/" + split + "/healthy/._h.jpg", .data = "mac"},
                   {.name = split + "/.DS_Store", .data = "mac"}});
}

TEST(ZipSource, ReadsTheOfficialLayoutInTheOrderOfFolders) {
  const ScratchFolder folder;
  write_file(folder / "train.zip", zip_of_split("train"));
  write_file(folder / "test.zip", zip_of_split("test"));
  const auto source = open_source(folder.path(), {});
  const Catalog& catalog = source->catalog();
  EXPECT_EQ(catalog.classes, (std::vector<std::string>{"healthy", "rust"}));
  ASSERT_EQ(catalog.splits.size(), 2u);
  EXPECT_EQ(catalog.splits[1].name, "test");
  const std::vector<std::string> contents = {std::string(5000, 'h'), "first", "second"};
  for (size_t split = 0; split < 2; ++split) {
    ASSERT_EQ(catalog.splits[split].samples.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      std::vector<uint8_t> out;
      source->read(split, i, out);
      EXPECT_EQ(out, bytes_of(contents[i]));
    }
  }
  EXPECT_EQ(catalog.splits[0].samples[1].name, "train.zip:train/rust/r.10.jpg");
  ASSERT_EQ(catalog.notes.size(), 1u);
  EXPECT_TRUE(contains(catalog.notes[0], "2 files skipped by rule")) << catalog.notes[0];
}

TEST(ZipSource, FindsTheSameSamplesAsTheFolderItWasMadeFrom) {
  const ScratchFolder zips, folder;
  write_file(zips / "train.zip", zip_of_split("train"));
  for (const char* name : {"train/rust/r.2.jpg", "train/rust/r.10.jpg", "train/healthy/h.jpg"})
    put_file(folder / name, "x");
  const auto zipped = open_source(zips.path(), {}), plain = open_source(folder.path(), {});
  ASSERT_EQ(zipped->catalog().splits[0].samples.size(), plain->catalog().splits[0].samples.size());
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(zipped->catalog().splits[0].samples[i].name, "train.zip:" + plain->catalog().splits[0].samples[i].name);
    EXPECT_EQ(zipped->catalog().splits[0].samples[i].label, plain->catalog().splits[0].samples[i].label);
  }
}

TEST(ZipSource, NamesTheArchiveThatIsRefused) {
  const ScratchFolder folder;
  write_file(folder / "train.zip", zip_of_split("train"));
  write_file(folder / "validation.zip", "no archive at all, but long enough to be one");
  const std::string failure = failure_of([&] { open_source(folder.path(), {}); });
  EXPECT_TRUE(contains(failure, "validation.zip: not a ZIP file")) << failure;
}

TEST(ZipSource, MembersOfAnotherSplitOrDepthAreNotSamples) {
  const ScratchFolder folder;
  write_file(folder / "train.zip", make_zip({{.name = "train/a/1.jpg", .data = "x"},
                                             {.name = "test/a/2.jpg", .data = "x"},
                                             {.name = "train/3.jpg", .data = "x"},
                                             {.name = "train//4.jpg", .data = "x"},
                                             {.name = "train/a/b/5.jpg", .data = "x"}}));
  const auto source = open_source(folder.path(), {});
  EXPECT_EQ(source->catalog().splits.at(0).samples.size(), 1u);
  EXPECT_TRUE(contains(source->catalog().notes.at(0), "4 files skipped"));
}

TEST(ZipSource, FingerprintFollowsChecksums) {
  const ScratchFolder one, two;
  write_file(one / "train.zip", make_zip({{.name = "train/a/1.jpg", .data = "abc"}}));
  write_file(two / "train.zip", make_zip({{.name = "train/a/1.jpg", .data = "abd"}}));
  EXPECT_NE(open_source(one.path(), {})->catalog().fingerprint, open_source(two.path(), {})->catalog().fingerprint);
}

TEST(HostileZip, NamesThatLeadElsewhereAreRefused) {
  EXPECT_TRUE(contains(name_failure("../train/a.jpg"), "leads outside"));
  EXPECT_TRUE(contains(name_failure("train/../../a.jpg"), "leads outside"));
  EXPECT_TRUE(contains(name_failure("train/.."), "leads outside"));
  EXPECT_TRUE(contains(name_failure("/etc/passwd"), "absolute"));
  EXPECT_TRUE(contains(name_failure("C:/a.jpg"), "drive letter"));
  EXPECT_TRUE(contains(name_failure("train\\a.jpg"), "backslash"));
  EXPECT_TRUE(contains(name_failure(std::string("train/a\0.jpg", 12)), "NUL"));
  EXPECT_EQ(name_failure("train/a..b/..c.jpg"), "no failure");
}

TEST(HostileZip, LinksAndSpecialFilesAreRefused) {
  EXPECT_TRUE(
      contains(open_failure(make_zip({{.name = "train/a/1.jpg", .data = "/etc/passwd", .attributes = kSymlink}})),
               "train/a/1.jpg is a link"));
  EXPECT_NE(open_failure(make_zip({{.name = "fifo", .attributes = 0010644u << 16}})), "no failure");
}

TEST(HostileZip, EncryptedMembersAreRefused) {
  EXPECT_TRUE(contains(open_failure(make_zip({{.name = "a.jpg", .data = "x", .flags = 1}})), "encrypted"));
}

TEST(HostileZip, ANameThatIsThereTwiceIsRefused) {
  EXPECT_TRUE(
      contains(open_failure(make_zip({{.name = "a.jpg", .data = "x"}, {.name = "a.jpg", .data = "y"}})), "twice"));
}

TEST(HostileZip, TooManyMembersAreRefusedBeforeTheyAreRead) {
  const std::string archive =
      make_zip({{.name = "a", .data = "x"}, {.name = "b", .data = "x"}, {.name = "c", .data = "x"}});
  EXPECT_TRUE(contains(open_failure(archive, {.members = 2}), "3 members"));
  EXPECT_EQ(open_failure(archive, {.members = 3}), "no failure");
  EXPECT_TRUE(contains(open_failure(archive, {.directory_bytes = 100}), "at most"));
}

TEST(HostileZip, FalseCountsAreRefusedWithoutTakingMemory) {
  const std::vector<ZipEntry> entries = {{.name = "a.jpg", .data = "x"}};
  EXPECT_TRUE(contains(open_failure(make_zip(entries, 2)), "more members are promised"));
  EXPECT_TRUE(contains(open_failure(make_zip(entries, 0)), "directory holds more"));
  EXPECT_TRUE(contains(open_failure(make_zip(entries, 1'900'000, true)), "more members are promised"));
  EXPECT_TRUE(contains(open_failure(make_zip(entries, int64_t{1} << 60, true)), "at most"));
}

TEST(HostileZip, OverlappingMembersAreRefused) {
  EXPECT_TRUE(
      contains(open_failure(make_zip({{.name = "a.jpg", .data = "x"}, {.name = "b.jpg", .data = "x", .header = 0}})),
               "overlaps"));
  EXPECT_TRUE(contains(open_failure(make_zip({{.name = "a.jpg", .data = "x", .header = 4'000'000'000}})), "overlaps"));
}

TEST(HostileZip, BombsAreRefusedByWhatTheyDecodeTo) {
  const ZipEntry honest{.name = "a.jpg", .data = std::string(8 << 20, '\0'), .deflate = true};
  EXPECT_TRUE(contains(read_failure(honest), "200 times its size"));
  EXPECT_TRUE(contains(read_failure(honest, {.member_bytes = 1 << 20, .ratio = 5000}), "at most 1048576"));
  ZipEntry liar = honest;
  liar.declared_bytes = 1000;
  EXPECT_TRUE(contains(read_failure(liar), "more bytes than it declares"));
}

TEST(HostileZip, DamagedMembersAreRefused) {
  const std::string data(3000, 'd');
  EXPECT_TRUE(contains(read_failure({.name = "a", .data = data, .checksum = 7}), "checksum"));
  EXPECT_TRUE(contains(read_failure({.name = "a", .data = data, .deflate = true, .checksum = 7}), "checksum"));
  EXPECT_TRUE(contains(read_failure({.name = "a", .data = data, .deflate = true, .declared_bytes = 3001}), "inflated"));
  EXPECT_TRUE(
      contains(read_failure({.name = "abc", .data = data, .local_name = "abd"}), "header and the directory differ"));
  EXPECT_TRUE(contains(read_failure({.name = "a", .data = data, .method_override = 12}), "compression method 12"));
  EXPECT_TRUE(contains(open_failure(make_zip({{.name = "a", .data = data, .declared_bytes = 2}})), "sizes differ"));
}

TEST(HostileZip, EveryTruncationFails) {
  const std::string archive = zip_of_split("train");
  for (size_t bytes = 0; bytes < archive.size(); bytes += 13) {
    EXPECT_NE(open_failure(archive.substr(0, bytes)), "no failure") << bytes;
  }
}

TEST(HostileZip, AnyChangedByteEitherReadsOrFailsWithAReason) {
  const std::string archive = make_zip({{.name = "train/a/1.jpg", .data = std::string(300, 'q'), .deflate = true},
                                        {.name = "train/a/2.jpg", .data = "stored", .zip64 = true}},
                                       -1, true);
  const ScratchFolder folder;
  for (size_t at = 0; at < archive.size(); ++at) {
    for (const char change : {'\x01', '\x80', '\xff'}) {
      std::string changed = archive;
      changed[at] = static_cast<char>(changed[at] ^ change);
      write_file(folder / "x.zip", changed);
      const std::string failure = failure_of([&] {
        const ZipArchive opened(folder / "x.zip");
        std::vector<uint8_t> out;
        for (const ZipMember& member : opened.members()) opened.read(member, out);
      });
      EXPECT_FALSE(failure.empty());
    }
  }
}

TEST(Zip64, SizesAndOffsetsComeFromTheExtraField) {
  const ScratchFolder folder;
  write_file(folder / "x.zip",
             make_zip({{.name = "a", .data = "first"}, {.name = "b", .data = "second", .zip64 = true}}, -1, true));
  const ZipArchive archive(folder / "x.zip");
  ASSERT_EQ(archive.members().size(), 2u);
  std::vector<uint8_t> out;
  archive.read(archive.members()[1], out);
  EXPECT_EQ(out, bytes_of("second"));
}

}  // namespace
}  // namespace esp::vit::test
