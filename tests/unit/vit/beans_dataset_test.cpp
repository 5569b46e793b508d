// The component "beans" as a host sees it: description, preparation, fetching from many threads, refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "beans/resize.hpp"
#include "beans_fixture.hpp"

namespace esp::vit::test {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

BeansDataset::Options drawn(uint64_t train, uint64_t validation = 6, uint64_t test = 3) {
  BeansDataset::Options options;
  options.synthetic_train = train;
  options.synthetic_validation = validation;
  options.synthetic_test = test;
  return options;
}

std::vector<uint64_t> range(uint64_t n) {
  std::vector<uint64_t> indices(n);
  for (uint64_t i = 0; i < n; ++i) indices[i] = i;
  return indices;
}

// Three classes; image i of class c has the grey 80 c + 10 i.
void put_plain_images(const ScratchFolder& folder, const std::string& split, int per_class) {
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < per_class; ++i) {
      const std::string name = split + "/class" + std::to_string(c) + "/" + std::to_string(i) + ".jpg";
      put_file(folder / name, plain_jpeg(40, 30, static_cast<uint8_t>(80 * c + 10 * i)));
    }
  }
}

BeansDataset::Options folder_of(const ScratchFolder& folder) {
  BeansDataset::Options options;
  options.path = folder.path();
  return options;
}

TEST(BeansDataset, DescribesSplitsClassesAndNotes) {
  DatasetRig rig(drawn(30));
  const esp_dataset_desc& desc = rig.dataset().describe();
  ASSERT_EQ(desc.n_splits, 3u);
  EXPECT_STREQ(desc.splits[0]->name, "train");
  EXPECT_EQ(desc.splits[0]->count, 30u);
  EXPECT_STREQ(desc.splits[2]->name, "test");
  EXPECT_EQ(desc.splits[2]->count, 3u);
  ASSERT_EQ(desc.n_classes, 3u);
  EXPECT_STREQ(desc.classes[1], "bean_rust");
  EXPECT_STREQ(desc.name, "synthetic leaves");
  ASSERT_EQ(desc.n_notes, 1u);
  EXPECT_TRUE(contains(desc.notes[0], "drawn"));
  EXPECT_NE(desc.fingerprint, 0u);
  DatasetRig other_seed(drawn(30), 7);
  EXPECT_EQ(other_seed.dataset().describe().fingerprint, desc.fingerprint) << "the run's seed does not change the data";
}

TEST(BeansDataset, DeliversPixelsFlipsAndLabelsInOrder) {
  const ScratchFolder folder;
  put_plain_images(folder, "train", 2);
  DatasetRig rig(folder_of(folder));
  rig.prepare(8, {0});
  const FetchedBatch batch = rig.fetch(0, 0, {5, 0, 2}, ESP_FETCH_EVAL);
  EXPECT_EQ(batch.labels, (std::vector<int64_t>{2, 0, 1}));
  EXPECT_EQ(batch.flips, (std::vector<uint8_t>{0, 0, 0}));
  const std::vector<int> greys = {170, 0, 80};
  for (size_t i = 0; i < batch.pixels.size(); ++i) EXPECT_NEAR(batch.pixels[i], greys[i / (8 * 8 * 3)], 1);
}

TEST(BeansDataset, PixelsAreTheDecodedFileResized) {
  const ScratchFolder folder;
  put_file(folder / "train/a/1.jpg", read_file(vector_path("rgb_420.jpg")));
  DatasetRig rig(folder_of(folder));
  rig.prepare(32, {0});
  RgbImage image;
  decode_jpeg(bytes_of(read_file(vector_path("rgb_420.jpg"))), image);
  std::vector<uint8_t> expected(32 * 32 * 3);
  Resizer().resize(image.pixels.data(), image.width, image.height, expected.data(), 32, 32);
  EXPECT_EQ(rig.fetch(0, 0, {0}).pixels, expected);
}

TEST(BeansDataset, HeightComesBeforeWidth) {
  DatasetRig rig(drawn(3, 0, 0));
  const std::vector<int64_t> shape = {5, 9, 3};
  rig.prepare_fields({field_of("pixels", ESP_U8, shape)}, {0});
  std::vector<uint8_t> out(5 * 9 * 3), expected(out.size());
  void* const fields[] = {out.data()};
  const uint64_t index = 0;
  rig.dataset().fetch(0, 0, {&index, 1}, 0, fields);
  const auto source = open_source("", {3, 0, 0});
  std::vector<uint8_t> file;
  RgbImage image;
  source->read(0, 0, file);
  decode_jpeg(file, image);
  Resizer().resize(image.pixels.data(), image.width, image.height, expected.data(), 9, 5);
  EXPECT_EQ(out, expected);
}

TEST(BeansDataset, WorkersDoNotChangeTheBytes) {
  DatasetRig one(drawn(12)), four(drawn(12));
  one.prepare(32, {0, 1}, 0, 1);
  four.prepare(32, {0, 1}, 0, 4);
  EXPECT_EQ(one.fetch(0, 0, range(12)).pixels, four.fetch(0, 0, range(12)).pixels);
  EXPECT_EQ(one.fetch(1, 0, range(6)).pixels, four.fetch(1, 0, range(6)).pixels);
}

TEST(BeansDataset, FlipsFollowSeedEpochAndIndexAlone) {
  DatasetRig rig(drawn(64)), same(drawn(64)), other(drawn(64), 43);
  for (DatasetRig* r : {&rig, &same, &other}) r->prepare(2, {0});
  const std::vector<uint8_t> flips = rig.fetch(0, 3, range(64)).flips;
  EXPECT_EQ(flips, same.fetch(0, 3, range(64)).flips);
  EXPECT_EQ(flips[9], rig.fetch(0, 3, {9}).flips[0]) << "whatever else is in the batch";
  EXPECT_NE(flips, rig.fetch(0, 4, range(64)).flips);
  EXPECT_NE(flips, other.fetch(0, 3, range(64)).flips);
  const auto ones = std::count(flips.begin(), flips.end(), 1), zeros = std::count(flips.begin(), flips.end(), 0);
  EXPECT_EQ(ones + zeros, 64);
  EXPECT_GT(ones, 16);
  EXPECT_GT(zeros, 16);
}

TEST(BeansDataset, NothingIsFlippedInEvaluationOrWithoutAugmentation) {
  BeansDataset::Options plain = drawn(64);
  plain.augment = "none";
  DatasetRig flipping(drawn(64)), still(plain);
  flipping.prepare(2, {0});
  still.prepare(2, {0});
  const std::vector<uint8_t> zeros(64, 0);
  EXPECT_EQ(flipping.fetch(0, 0, range(64), ESP_FETCH_EVAL).flips, zeros);
  EXPECT_EQ(still.fetch(0, 0, range(64)).flips, zeros);
}

TEST(BeansDataset, FetchesFromManyThreadsAtOnce) {
  DatasetRig rig(drawn(24));
  rig.prepare(16, {0}, 0, 2);
  const FetchedBatch expected = rig.fetch(0, 1, range(24));
  std::vector<std::thread> threads;
  std::vector<int> equal(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 50; ++round) {
        const FetchedBatch batch = rig.fetch(0, 1, range(24));
        equal[t] += batch.pixels == expected.pixels && batch.flips == expected.flips && batch.labels == expected.labels;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 50));
}

TEST(BeansDataset, DecodesOnlyWhatWillBeFetched) {
  const ScratchFolder folder;
  put_plain_images(folder, "train", 2);
  put_plain_images(folder, "test", 1);
  put_file(folder / "train/class2/1.jpg", "damaged, but beyond the limit");
  put_file(folder / "test/class0/0.jpg", "damaged, but in a split that is not fetched");
  DatasetRig rig(folder_of(folder));
  rig.prepare(8, {0}, 5);
  EXPECT_EQ(rig.fetch(0, 0, {4}).labels, std::vector<int64_t>{2});
  EXPECT_TRUE(
      contains(failure_of([&] { rig.fetch(0, 0, {5}); }), "sample 5 of split 0 was asked for; 5 were prepared"));
  EXPECT_NE(failure_of([&] { rig.fetch(1, 0, {0}); }), "no failure");
  EXPECT_NE(failure_of([&] { rig.fetch(9, 0, {0}); }), "no failure");
}

TEST(BeansDataset, NamesEveryDamagedImageAtOnce) {
  const ScratchFolder folder;
  put_plain_images(folder, "train", 5);
  const std::string whole = read_file(folder / "train/class0/1.jpg");
  put_file(folder / "train/class0/1.jpg", whole.substr(0, whole.size() - 20));
  put_file(folder / "train/class1/3.jpg", "");
  put_file(folder / "train/class2/4.jpg", "GIF89a");
  DatasetRig rig(folder_of(folder));
  const std::string failure = failure_of([&] { rig.prepare(8, {0}, 0, 2); });
  EXPECT_TRUE(contains(failure, "3 images cannot be used")) << failure;
  const size_t first = failure.find("train/class0/1.jpg: "), second = failure.find("train/class1/3.jpg: is empty"),
               third = failure.find("train/class2/4.jpg: Not a JPEG file");
  EXPECT_TRUE(first < second && second < third && third != failure.npos) << failure;
  EXPECT_TRUE(rig.log().empty()) << "all are in the error";
}

TEST(BeansDataset, NamesFourDamagedImagesAndLogsTheRest) {
  const ScratchFolder folder;
  for (int i = 10; i < 35; ++i) put_file(folder / ("train/a/" + std::to_string(i) + ".jpg"), "damaged");
  DatasetRig rig(folder_of(folder));
  const std::string failure = failure_of([&] { rig.prepare(8, {0}, 0, 3); });
  EXPECT_TRUE(contains(failure, "25 images")) << failure;
  EXPECT_TRUE(contains(failure, "train/a/13.jpg")) << failure;
  EXPECT_FALSE(contains(failure, "train/a/14.jpg")) << failure;
  EXPECT_EQ(rig.log().size(), 21u);
}

TEST(BeansDataset, RefusesFieldsItCannotDeliverByName) {
  DatasetRig rig(drawn(3));
  const std::vector<int64_t> image = {8, 8, 3}, planes = {3, 8, 8}, huge = {9000, 9000, 3}, one = {1};
  const auto failure = [&](const esp_field& field) { return failure_of([&] { rig.prepare_fields({field}, {0}); }); };
  EXPECT_TRUE(contains(failure(field_of("depth", ESP_U8, image)), "wants field depth"));
  EXPECT_TRUE(contains(failure(field_of("pixels", ESP_F32, image)), "field pixels"));
  EXPECT_TRUE(contains(failure(field_of("pixels", ESP_U8, planes)), "shape [3, 8, 8]"));
  EXPECT_TRUE(contains(failure(field_of("pixels", ESP_U8, huge)), "sides up to"));
  EXPECT_TRUE(contains(failure(field_of("flip", ESP_U8, one)), "field flip"));
  EXPECT_TRUE(contains(failure(field_of("label", ESP_I32, {})), "field label"));
}

TEST(BeansDataset, RefusesUnknownCriticalFlagsOfFetch) {
  DatasetRig rig(drawn(3));
  rig.prepare(4, {0});
  EXPECT_NE(failure_of([&] { rig.fetch(0, 0, {0}, 0x00020000u); }), "no failure");
  EXPECT_EQ(failure_of([&] { rig.fetch(0, 0, {0}, 0x00000004u); }), "no failure") << "hints are ignored";
}

TEST(BeansDataset, RefusesASplitThatIsNotThere) {
  DatasetRig rig(drawn(3));
  EXPECT_TRUE(contains(failure_of([&] { rig.prepare(4, {3}); }), "split 3 was asked for"));
}

TEST(BeansDataset, CanBePreparedAgain) {
  DatasetRig rig(drawn(6));
  rig.prepare(4, {0}, 2);
  rig.prepare(8, {0, 1});
  EXPECT_EQ(rig.fetch(0, 0, {5}).labels, std::vector<int64_t>{2});
}

TEST(BeansDataset, RefusesWhatMemoryCannotHoldWithTheNumbers) {
  DatasetRig rig(drawn(100'000, 0, 0));
  const std::vector<int64_t> shape = {8192, 8192, 3};
  EXPECT_TRUE(contains(failure_of([&] { rig.prepare_fields({field_of("pixels", ESP_U8, shape)}, {0}); }),
                       "cannot hold the 100000 decoded images of split train"));
}

}  // namespace
}  // namespace esp::vit::test
