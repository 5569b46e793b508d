// Parameters laid out flat: one arena, blocks of it that are communicated whole, places of parameters in the blocks.
#ifndef ESPALIER_KIT_LAYOUT_HPP
#define ESPALIER_KIT_LAYOUT_HPP

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

class Layout {
 public:
  Layout() = default;

  // One block a bucket, in their order. Parameters without elements have no place; buckets of nothing else no block.
  Layout(const esp_view& view, const std::vector<Bucket>& buckets, uint64_t alignment) {
    for (const Bucket& bucket : buckets) {
      Block block{static_cast<uint32_t>(blocks_.size()), bucket.final_at, size_, size_, {}};
      for (uint32_t param : bucket.params) {
        const uint64_t numel = view.params[param]->numel;
        if (numel == 0) continue;
        block.places.push_back({param, size_, numel});
        size_ += (numel + alignment - 1) / alignment * alignment;
      }
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

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_LAYOUT_HPP
