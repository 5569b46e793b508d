// What the optimizer works on: master weights and its slots for the elements that this rank owns.
#ifndef ESPALIER_KIT_SHARD_SET_HPP
#define ESPALIER_KIT_SHARD_SET_HPP

#include <algorithm>
#include <espalier/host.hpp>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// Address of element `i`.
inline void* element(void* base, uint64_t i, esp_dtype dtype) {
  return static_cast<char*>(base) + i * ESP_DTYPE_BYTES(dtype);
}

// The smallest element among weights, gradients and all that the optimizer keeps, in bytes: what layouts are aligned
// by.
inline uint64_t smallest_element(esp_dtype compute_t, const esp_update_desc& desc) {
  uint64_t smallest = std::min(ESP_DTYPE_BYTES(compute_t), ESP_DTYPE_BYTES(desc.master));
  for (uint32_t i = 0; i < desc.n_slots; ++i) {
    smallest = std::min<uint64_t>(smallest, ESP_DTYPE_BYTES(desc.slots[i]->dtype));
  }
  return smallest;
}

// Flat arrays of `size` elements as esp_update_desc asks for them, in one block of memory. desc lives until destroy, so
// it is kept.
class ShardSet {
 public:
  // place: ESP_DEVICE or ESP_PINNED. masters: where the weights already are, in desc.master and owned by the caller;
  // NULL = the set holds masters of its own. Where they are scattered, give the first of them and do not ask for
  // master(). memory_flags: ESP_MEM_ bits.
  ShardSet(const Memory& memory, const esp_update_desc& desc, uint64_t size, uint32_t place, void* masters,
           uint32_t memory_flags)
      : desc_(&desc), size_(size), holds_masters_(masters == nullptr), masters_(masters) {
    uint64_t end = 0;
    const auto next = [&](esp_dtype dtype) {
      const uint64_t begin = end;
      end += (size * ESP_DTYPE_BYTES(dtype) + kAlignment - 1) / kAlignment * kAlignment;
      return begin;
    };
    if (holds_masters_) next(desc.master);
    for (uint32_t i = 0; i < desc.n_slots; ++i) slots_.push_back(next(desc.slots[i]->dtype));
    memory_ = place == ESP_PINNED ? memory.pinned(end, ESP_TAG_OPTIMIZER, memory_flags)
                                  : memory.device(end, ESP_TAG_OPTIMIZER, memory_flags);
    if (holds_masters_) masters_ = memory_.data();
  }

  uint64_t size() const { return size_; }
  uint32_t n_slots() const { return desc_->n_slots; }
  const char* slot_name(uint32_t slot) const { return desc_->slots[slot]->name; }
  esp_dtype slot_dtype(uint32_t slot) const { return desc_->slots[slot]->dtype; }
  esp_dtype master_dtype() const { return desc_->master; }
  bool holds_masters() const { return holds_masters_; }

  void* master(uint64_t at) const { return element(masters_, at, desc_->master); }
  void* slot(uint32_t slot, uint64_t at) const {
    return element(static_cast<char*>(memory_.data()) + slots_[slot], at, slot_dtype(slot));
  }

 private:
  static constexpr uint64_t kAlignment = 256;

  const esp_update_desc* desc_;
  uint64_t size_;
  bool holds_masters_;
  void* masters_;
  Buffer memory_;
  std::vector<uint64_t> slots_;  // where each begins, in bytes
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_SHARD_SET_HPP
