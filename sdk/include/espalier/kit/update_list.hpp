// The ranges of one call of the optimizer.
#ifndef ESPALIER_KIT_UPDATE_LIST_HPP
#define ESPALIER_KIT_UPDATE_LIST_HPP

#include <deque>
#include <espalier/kit/shard_set.hpp>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

class UpdateList {
 public:
  UpdateList() = default;
  UpdateList(UpdateList&&) = default;
  UpdateList& operator=(UpdateList&&) = default;

  // Elements [offset, offset + n) of a parameter, which lie at [at, at + n) of the set. grad and out point to the first
  // of them. out: the copy that the model computes with, NULL when that is the master.
  void add(uint32_t param, uint64_t offset, uint64_t n, const ShardSet& set, uint64_t at, const void* grad,
           esp_dtype grad_t, void* out, esp_dtype out_t) {
    add(param, offset, n, set.master(at), set, at, grad, grad_t, out, out_t);
  }
  // The same for masters that lie elsewhere than in the set.
  void add(uint32_t param, uint64_t offset, uint64_t n, void* master, const ShardSet& set, uint64_t at,
           const void* grad, esp_dtype grad_t, void* out, esp_dtype out_t) {
    Entry& entry = entries_.emplace_back();
    for (uint32_t slot = 0; slot < set.n_slots(); ++slot) entry.slots.push_back(set.slot(slot, at));
    entry.range = {sizeof(esp_range), param, offset, n, master, entry.slots.data(), grad, out, grad_t, out_t};
    ranges_.push_back(&entry.range);
  }

  Slice<const esp_range* const> ranges() const { return {ranges_.data(), ranges_.size()}; }

 private:
  struct Entry {
    std::vector<void*> slots;
    esp_range range;
  };
  std::deque<Entry> entries_;  // addresses stay
  std::vector<const esp_range*> ranges_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_UPDATE_LIST_HPP
