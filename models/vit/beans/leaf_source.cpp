#include <cstddef>
#include <utility>

#include "counter_random.hpp"
#include "leaf_drawing.hpp"
#include "sample_source.hpp"

namespace esp::vit {
namespace {

constexpr int kQuality = 88;
constexpr uint32_t kClasses = 3;

// What the official set calls its splits inside of file names.
constexpr const char* kFileParts[] = {"train", "val", "test"};

// Image number `number` of a class of a split; the locator of a sample is its packed form.
struct Leaf {
  uint64_t split, label, number;

  uint64_t pack() const { return number << 8 | split << 4 | label; }
  static Leaf unpack(uint64_t packed) { return {packed >> 4 & 15, packed & 15, packed >> 8}; }
};

SplitListing list_split(uint64_t split, uint64_t count) {
  SplitListing listing{kSplitNames[split], {std::begin(kLeafClasses), std::end(kLeafClasses)}, {}};
  for (uint64_t i = 0; i < count; ++i) {
    const Leaf leaf{split, i % kClasses, i / kClasses};
    const std::string class_name = kLeafClasses[leaf.label];
    const std::string file = class_name + "_" + kFileParts[split] + "." + std::to_string(leaf.number) + ".jpg";
    const std::string name = std::string(kSplitNames[split]) + "/" + class_name + "/" + file;
    listing.files.push_back({class_name, file, Sample{name, 0, 0, 0, leaf.pack()}});
  }
  return listing;
}

class LeafSource : public SampleSource {
 public:
  LeafSource(const LeafCounts& counts, uint64_t seed) : seed_(seed) {
    const uint64_t sizes[] = {counts.train, counts.validation, counts.test};
    std::vector<SplitListing> splits;
    for (uint64_t split = 0; split < std::size(sizes); ++split) {
      if (sizes[split] > 0) splits.push_back(list_split(split, sizes[split]));
    }
    catalog_ = make_catalog("synthetic leaves", std::move(splits), {});
    catalog_.notes.push_back("data.path is not set: the images are drawn, not photographs");
    catalog_.fingerprint = random_bits(catalog_.fingerprint, kDrawingVersion, seed);
  }

  void read(size_t split, size_t index, std::vector<uint8_t>& out) const override {
    const uint64_t packed = catalog_.splits.at(split).samples.at(index).locator;
    out = encode_jpeg(draw_leaf(static_cast<LeafKind>(Leaf::unpack(packed).label), seed_, packed), kQuality);
  }

 private:
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<SampleSource> draw_leaves(const LeafCounts& counts, uint64_t seed) {
  return std::make_unique<LeafSource>(counts, seed);
}

}  // namespace esp::vit
