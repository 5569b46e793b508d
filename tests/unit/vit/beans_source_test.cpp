// Folders and the drawn set: order, labels, notes and errors.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "beans/sample_source.hpp"
#include "beans_fixture.hpp"

namespace esp::vit::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_of(const Split& split) {
  std::vector<std::string> names;
  for (const Sample& sample : split.samples) names.push_back(sample.name);
  return names;
}

std::vector<int64_t> labels_of(const Split& split) {
  std::vector<int64_t> labels;
  for (const Sample& sample : split.samples) labels.push_back(sample.label);
  return labels;
}

std::string open_failure(const std::string& path) {
  return failure_of([&] { open_source(path, {}); });
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

uint64_t fingerprint_of(const std::string& path) { return open_source(path, {})->catalog().fingerprint; }

TEST(FolderSource, OrdersByClassThenByBytesOfTheName) {
  const ScratchFolder folder;
  for (const char* file : {"b.10.jpg", "b.9.jpg", "b.1.JPG", "B.jpeg", "a.jpg"})
    put_file(folder / "train/rust/" + file, "x");
  put_file(folder / "train/healthy/z.Jpeg", "x");
  put_file(folder / "train/Zebra/a.jpg", "x");
  const auto source = open_source(folder.path(), {});
  EXPECT_EQ(source->catalog().classes, (std::vector<std::string>{"Zebra", "healthy", "rust"}));
  const Split& train = source->catalog().splits.at(0);
  EXPECT_EQ(names_of(train), (std::vector<std::string>{"train/Zebra/a.jpg", "train/healthy/z.Jpeg", "train/rust/B.jpeg",
                                                       "train/rust/a.jpg", "train/rust/b.1.JPG", "train/rust/b.10.jpg",
                                                       "train/rust/b.9.jpg"}));
  EXPECT_EQ(labels_of(train), (std::vector<int64_t>{0, 1, 2, 2, 2, 2, 2}));
}

TEST(FolderSource, ReadsTheBytesOfTheFile) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", "one");
  put_file(folder / "train/a/2.jpg", "two and more");
  const auto source = open_source(folder.path(), {});
  std::vector<uint8_t> out;
  source->read(0, 1, out);
  EXPECT_EQ(out, bytes_of("two and more"));
  source->read(0, 0, out);
  EXPECT_EQ(out, bytes_of("one"));
}

TEST(FolderSource, SkipsByRuleAndSaysSo) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", "x");
  put_file(folder / "train/a/1.png", "x");
  put_file(folder / "train/a/1.120tore", "x");
  put_file(folder / "train/a/.jpg", "x");
  put_file(folder / "train/a/.2.jpg", "x");
  put_file(folder / "train/.cache/3.jpg", "x");
  put_file(folder / "train/labels.csv", "x");
  const auto source = open_source(folder.path(), {});
  EXPECT_EQ(source->catalog().splits.at(0).samples.size(), 1u);
  EXPECT_EQ(source->catalog().classes, std::vector<std::string>{"a"});
  ASSERT_EQ(source->catalog().notes.size(), 1u);
  EXPECT_TRUE(contains(source->catalog().notes[0], "3 files skipped by rule")) << source->catalog().notes[0];
  EXPECT_TRUE(contains(source->catalog().notes[0], "train/labels.csv"));
}

TEST(FolderSource, TakesValForValidation) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", "x");
  put_file(folder / "val/a/1.jpg", "x");
  const auto source = open_source(folder.path(), {});
  ASSERT_EQ(source->catalog().splits.size(), 2u);
  EXPECT_EQ(source->catalog().splits[1].name, "validation");
  put_file(folder / "validation/a/1.jpg", "x");
  EXPECT_TRUE(contains(open_failure(folder.path()), "both validation/ and val/"));
}

TEST(FolderSource, LabelsFollowTrainInEverySplit) {
  const ScratchFolder folder;
  for (const char* name : {"train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "test/c/1.jpg"})
    put_file(folder / name, "x");
  const auto source = open_source(folder.path(), {});
  EXPECT_EQ(labels_of(source->catalog().splits.at(1)), std::vector<int64_t>{2});
  ASSERT_EQ(source->catalog().notes.size(), 2u);
  EXPECT_EQ(source->catalog().notes[0], "split test has no image of class a");
}

TEST(FolderSource, RefusesAClassThatTrainDoesNotHave) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", "x");
  put_file(folder / "test/mosaic/1.jpg", "x");
  EXPECT_TRUE(contains(open_failure(folder.path()), "split test has the class mosaic"));
}

TEST(FolderSource, AnEmptyClassIsANote) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", "x");
  fs::create_directories(folder / "train/b");
  const auto source = open_source(folder.path(), {});
  EXPECT_EQ(source->catalog().classes.size(), 2u);
  EXPECT_EQ(source->catalog().notes, std::vector<std::string>{"split train has no image of class b"});
}

TEST(FolderSource, ErrorsNameWhatIsMissing) {
  const ScratchFolder folder;
  EXPECT_TRUE(contains(open_failure(folder / "nothing"), "nothing: no such folder"));
  put_file(folder / "file.zip", "x");
  EXPECT_TRUE(contains(open_failure(folder / "file.zip"), "is a file; give the folder"));
  EXPECT_TRUE(contains(open_failure(folder.path()), "holds no split"));
  fs::create_directories(folder / "train/a");
  EXPECT_TRUE(contains(open_failure(folder.path()), "holds no image"));
  put_file(folder / "train/a/1.png", "x");
  EXPECT_TRUE(contains(open_failure(folder.path()), "train/a/1.png"));
}

TEST(FolderSource, AFileThatIsNoFileIsRefusedByName) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", "x");
  fs::create_symlink("nowhere", folder / "train/a/2.jpg");
  EXPECT_TRUE(contains(open_failure(folder.path()), "train/a/2.jpg"));
  fs::remove(folder / "train/a/2.jpg");
  fs::create_directories(folder / "train/a/3.jpg");
  EXPECT_TRUE(contains(open_failure(folder.path()), "3.jpg: not a regular file"));
}

TEST(FolderSource, AClassNameThatIsNotUtf8IsRefused) {
  const ScratchFolder folder;
  put_file(folder / "train/a\xff/1.jpg", "x");
  EXPECT_TRUE(contains(open_failure(folder.path()), "train/a\\xff has a name that is not UTF-8"));
}

TEST(FolderSource, AFileThatChangesDuringTheRunIsAnError) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", "four");
  const auto source = open_source(folder.path(), {});
  std::vector<uint8_t> out;
  put_file(folder / "train/a/1.jpg", "longer");
  EXPECT_TRUE(contains(failure_of([&] { source->read(0, 0, out); }), "changed"));
  put_file(folder / "train/a/1.jpg", "no");
  EXPECT_TRUE(contains(failure_of([&] { source->read(0, 0, out); }), "changed"));
}

TEST(Fingerprint, FollowsNamesSizesAndClassesButNotThePlace) {
  const ScratchFolder one, two;
  for (const ScratchFolder* folder : {&one, &two}) {
    put_file(*folder / "train/a/1.jpg", "abc");
    put_file(*folder / "train/b/2.jpg", "abc");
  }
  const uint64_t before = fingerprint_of(one.path());
  EXPECT_EQ(before, fingerprint_of(two.path()));
  put_file(two / "train/b/2.jpg", "abcd");
  EXPECT_NE(before, fingerprint_of(two.path()));
  put_file(two / "train/b/2.jpg", "abc");
  fs::rename(two / "train/b/2.jpg", two / "train/b/3.jpg");
  EXPECT_NE(before, fingerprint_of(two.path()));
  fs::rename(two / "train/b/3.jpg", two / "train/b/2.jpg");
  EXPECT_EQ(before, fingerprint_of(two.path()));
  fs::rename(two / "train/b", two / "train/c");
  EXPECT_NE(before, fingerprint_of(two.path()));
}

TEST(LeafSource, HasTheClassesAndTheOrderOfBeans) {
  const auto source = open_source("", {25, 3, 0});
  const Catalog& catalog = source->catalog();
  EXPECT_EQ(catalog.classes, (std::vector<std::string>{"angular_leaf_spot", "bean_rust", "healthy"}));
  ASSERT_EQ(catalog.splits.size(), 2u);
  EXPECT_EQ(catalog.splits[0].samples.size(), 25u);
  EXPECT_EQ(catalog.splits[1].samples.size(), 3u);
  EXPECT_EQ(catalog.splits[1].samples[2].name, "validation/healthy/healthy_val.0.jpg");
  int64_t last = 0;
  for (const Sample& sample : catalog.splits[0].samples) {
    EXPECT_GE(sample.label, last);
    last = sample.label;
  }
  EXPECT_EQ(last, 2);
}

TEST(LeafSource, DrawsTheSameLeafForTheSameSeedAndOthersElse) {
  const auto one = draw_leaves({6, 3, 0}, 1), same = draw_leaves({60, 3, 0}, 1), other = draw_leaves({6, 3, 0}, 2);
  std::vector<uint8_t> a, b, c, d;
  one->read(0, 0, a);
  same->read(0, 0, b);
  other->read(0, 0, c);
  one->read(1, 0, d);
  EXPECT_EQ(a, b) << "a larger set begins with the smaller one";
  EXPECT_NE(a, c);
  EXPECT_NE(a, d) << "splits share no leaf";
  EXPECT_NE(one->catalog().fingerprint, other->catalog().fingerprint);
}

TEST(LeafSource, LesionsAreBrownerThanAnythingOnAHealthyLeaf) {
  const auto source = draw_leaves({30, 0, 0}, 42);
  const Split& train = source->catalog().splits.at(0);
  std::vector<double> brown(3, 0);
  for (size_t i = 0; i < train.samples.size(); ++i) {
    std::vector<uint8_t> file;
    RgbImage image;
    source->read(0, i, file);
    decode_jpeg(file, image);
    for (size_t p = 0; p < image.pixels.size(); p += 3) {
      brown[static_cast<size_t>(train.samples[i].label)] += image.pixels[p] > image.pixels[p + 1] * 1.25 ? 1 : 0;
    }
  }
  EXPECT_GT(brown[0], 5 * brown[2]);
  EXPECT_GT(brown[1], 5 * brown[2]);
}

}  // namespace
}  // namespace esp::vit::test
