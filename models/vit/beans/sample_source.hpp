// Where encoded images come from: a folder, official zips, or a drawing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "catalog.hpp"

namespace esp::vit {

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  const Catalog& catalog() const { return catalog_; }

  // The JPEG of one sample, into `out` (its storage is reused). Thread-safe. Throws DataError without the sample's
  // name.
  virtual void read(size_t split, size_t index, std::vector<uint8_t>& out) const = 0;

 protected:
  Catalog catalog_;  // complete when the constructor returns
};

// Sizes of the drawn splits.
struct LeafCounts {
  uint64_t train = 600;
  uint64_t validation = 120;
  uint64_t test = 120;
};
inline constexpr uint64_t kMaxLeaves = 1'000'000;  // of a split
inline constexpr uint64_t kLeafSeed = 42;          // not the run's: the data stays the same when that changes

// <path>/<split>/<class>/*.jpg. Throws DataError naming what is missing.
std::unique_ptr<SampleSource> open_folder(const std::string& path);
// <path>/<split>.zip, each with members <split>/<class>/<name>.jpg.
std::unique_ptr<SampleSource> open_zips(const std::string& path);
// Drawn on demand; sample i of a split depends on (seed, split, i) alone. Classes take turns over the file numbers.
std::unique_ptr<SampleSource> draw_leaves(const LeafCounts& counts, uint64_t seed);

// What `path` holds decides: split folders, else zips; an empty path draws.
std::unique_ptr<SampleSource> open_source(const std::string& path, const LeafCounts& counts);

}  // namespace esp::vit
