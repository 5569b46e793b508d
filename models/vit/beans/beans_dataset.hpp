// The dataset component "beans": leaf images in folders of classes, in the official zips, or drawn. Fields: "pixels" U8
// [height, width, 3], "flip" U8 [], "label" I64 [].
#pragma once

#include <cstdint>
#include <espalier/dataset.hpp>
#include <memory>
#include <string>
#include <vector>

#include "decoded_split.hpp"
#include "sample_source.hpp"

namespace esp::vit {

class BeansDataset {
 public:
  struct Options {
    std::string path;  // empty: drawn
    std::string augment = "flip";
    uint64_t synthetic_train = LeafCounts{}.train;
    uint64_t synthetic_validation = LeafCounts{}.validation;
    uint64_t synthetic_test = LeafCounts{}.test;
    static auto schema() {
      return esp::options(
          esp::option("path", &Options::path)
              .path()
              .doc("folder with train/, validation/ and test/, or with their zips; absent: leaves are drawn"),
          esp::option("augment", &Options::augment)
              .choices({"none", "flip"})
              .sweepable()
              .doc("what training does to images: nothing, or mirror every second one"),
          esp::option("synthetic_train", &Options::synthetic_train).range(1, kMaxLeaves).doc("drawn training images"),
          esp::option("synthetic_validation", &Options::synthetic_validation)
              .range(0, kMaxLeaves)
              .doc("drawn validation images"),
          esp::option("synthetic_test", &Options::synthetic_test).range(0, kMaxLeaves).doc("drawn test images"));
    }
  };

  BeansDataset(Host& host, const Options& options);

  const esp_dataset_desc& describe();
  void prepare(const esp_dataset_run& run);
  void fetch(uint32_t split, uint64_t epoch, Slice<const uint64_t> indices, uint32_t flags, void* const* out);

 private:
  enum class Field { kPixels, kFlip, kLabel };

  void accept_field(const esp_field& field);
  uint64_t samples_to_decode(uint32_t split, uint64_t limit) const;
  void fetch_field(Field field, uint32_t split, uint64_t epoch, Slice<const uint64_t> indices, bool eval,
                   void* out) const;

  Host& host_;
  const Options options_;
  const std::unique_ptr<SampleSource> source_;
  DatasetDescription description_;
  std::vector<Field> fields_;  // in the order of esp_dataset_run.fields
  ImageSize size_;
  std::vector<DecodedSplit> decoded_;  // one per split of the catalogue; count 0 where not prepared
};

}  // namespace esp::vit
