// Equal buffers that are lent in turn.
#ifndef ESPALIER_KIT_SLOTS_HPP
#define ESPALIER_KIT_SLOTS_HPP

#include <deque>
#include <espalier/host.hpp>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// Made outside steps. Within a step the same sequence of calls lends the same buffers, so steps can be captured. What a
// lent buffer holds is undefined.
class Slots {
 public:
  // On device memory that collectives may use. tag: ESP_TAG_.
  Slots(const Host& host, uint32_t count, uint64_t bytes, uint32_t tag) : device_(&host.device), slots_(count) {
    for (Slot& slot : slots_) {
      slot.memory = host.memory.device(bytes, tag, ESP_MEM_COMM);
      slot.given_back = device_->new_event();
    }
    begin_step();
  }

  uint32_t count() const { return static_cast<uint32_t>(slots_.size()); }
  bool any_free() const { return !free_.empty(); }
  void* data(uint32_t slot) const { return slots_[slot].memory.data(); }

  // All are free, in the same order each time. Events of the step before are forgotten: the host has joined it.
  void begin_step() {
    free_.clear();
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      slots_[i].used = false;
      free_.push_back(i);
    }
  }

  // The one that has been free for longest. Later work on `stream` runs behind the work of those who had it before.
  // Throws Failure (ESP_E_INTERNAL) when none is free.
  uint32_t take(esp_stream stream) {
    if (free_.empty()) fail(ESP_E_INTERNAL, "all ", slots_.size(), " slots are lent");
    const uint32_t slot = free_.front();
    free_.pop_front();
    if (slots_[slot].used) device_->wait(stream, slots_[slot].given_back);
    return slot;
  }
  // Whoever takes it next waits for what is enqueued on `stream` so far.
  void give_back(uint32_t slot, esp_stream stream) {
    device_->record(slots_[slot].given_back, stream);
    slots_[slot].used = true;
    free_.push_back(slot);
  }

 private:
  struct Slot {
    Buffer memory;
    esp_event given_back = nullptr;
    bool used = false;  // in this step
  };

  const Device* device_;
  std::vector<Slot> slots_;
  std::deque<uint32_t> free_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_SLOTS_HPP
