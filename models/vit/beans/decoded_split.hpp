// All images of a split as bytes at the model's size, in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sample_source.hpp"

namespace esp::vit {

struct ImageSize {
  uint32_t height = 0;
  uint32_t width = 0;
  size_t bytes() const { return size_t{height} * width * 3; }
};

struct DecodedSplit {
  uint64_t count = 0;           // samples [0, count) of the split
  std::vector<uint8_t> pixels;  // [count, height, width, 3]
};

// Decodes and resizes samples [0, count) with `workers` threads (at least 1). Throws DataError after all were tried
// when any is damaged; it names the first few; `on_damaged` is told of the others, in order, on the calling thread.
DecodedSplit decode_split(const SampleSource& source, size_t split, uint64_t count, ImageSize size, uint32_t workers,
                          const std::function<void(const std::string& line)>& on_damaged);

}  // namespace esp::vit
