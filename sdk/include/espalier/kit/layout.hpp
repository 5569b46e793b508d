// Parameters laid out flat: one arena, blocks of it that are communicated whole, places of parameters in the blocks.
#ifndef ESPALIER_KIT_LAYOUT_HPP
#define ESPALIER_KIT_LAYOUT_HPP

#include <algorithm>
#include <cstdint>
#include <espalier/kit/schedule.hpp>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// All in elements of the arena, whatever dtype it has: one layout serves weights, gradients, masters and slots.
struct Place {
  uint32_t param;
  uint64_t offset;
  uint64_t numel;
};

// [begin, end) of the arena. Padding between and behind parameters belongs to no parameter.
struct Block {
  uint32_t index;
  uint32_t final_at;  // see Bucket
  uint64_t begin, end;
  std::vector<Place> places;
  uint64_t size() const { return end - begin; }
};

// Elements between starts of parameters, so that each begins at a multiple of 256 bytes in every dtype of at least
// `smallest_bytes` an element.
constexpr uint64_t alignment_of(uint64_t smallest_bytes) { return 256 / smallest_bytes; }

// Elements [offset, offset + n) of a parameter, the first of which is element `at` of the arena.
struct Piece {
  uint32_t param;
  uint64_t offset, n, at;
};

// What parameters have in [lo, hi) of the arena, a part of the block: no padding, nothing twice.
inline std::vector<Piece> pieces(const Block& block, uint64_t lo, uint64_t hi) {
  std::vector<Piece> out;
  for (const Place& place : block.places) {
    const uint64_t from = std::max(lo, place.offset);
    const uint64_t to = std::min(hi, place.offset + place.numel);
    if (from < to) out.push_back({place.param, from - place.offset, to - from, from});
  }
  return out;
}

class Layout {
 public:
  Layout() = default;

  // One block a bucket, in their order. Parameters without elements have no place; buckets of nothing else no block.
  // Blocks are padded so that `ranks` equal parts of each begin at a multiple of the alignment.
  Layout(const esp_view& view, const std::vector<Bucket>& buckets, uint64_t alignment, uint64_t ranks = 1) {
    for (const Bucket& bucket : buckets) {
      Block block{static_cast<uint32_t>(blocks_.size()), bucket.final_at, size_, size_, {}};
      for (uint32_t param : bucket.params) {
        const uint64_t numel = view.params[param]->numel;
        if (numel == 0) continue;
        block.places.push_back({param, size_, numel});
        size_ += (numel + alignment - 1) / alignment * alignment;
      }
      size_ = (size_ + alignment * ranks - 1) / (alignment * ranks) * (alignment * ranks);
      block.end = size_;
      if (!block.places.empty()) blocks_.push_back(std::move(block));
    }
  }

  uint64_t size() const { return size_; }  // padding included
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  uint64_t size_ = 0;
  std::vector<Block> blocks_;
};

// One rank's equal part of every block of a layout that was made for that many ranks. Where a rank keeps only its
// parts, they lie one after another in the order of the blocks: an arena of size(layout) elements.
class Partition {
 public:
  Partition() = default;
  Partition(uint64_t rank, uint64_t ranks) : rank_(rank), ranks_(ranks) {}

  uint64_t size(const Block& block) const { return block.size() / ranks_; }
  uint64_t size(const Layout& layout) const { return layout.size() / ranks_; }
  uint64_t begin(const Block& block) const { return block.begin + rank_ * size(block); }  // in the whole arena
  uint64_t at(const Block& block) const { return block.begin / ranks_; }                  // in the arena of parts

  std::vector<Piece> own(const Block& block) const { return pieces(block, begin(block), begin(block) + size(block)); }

 private:
  uint64_t rank_ = 0, ranks_ = 1;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_LAYOUT_HPP
