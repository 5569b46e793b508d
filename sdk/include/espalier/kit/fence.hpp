// Orders one stream after another.
#ifndef ESPALIER_KIT_FENCE_HPP
#define ESPALIER_KIT_FENCE_HPP

#include <espalier/host.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// Everything enqueued on `later` after the call sees everything enqueued on `earlier` before it. Made outside steps;
// one fence serves any number of calls and pairs of streams, since a wait refers to the latest record.
class Fence {
 public:
  explicit Fence(const Device& device) : device_(&device), event_(device.new_event()) {}
  void order(esp_stream earlier, esp_stream later) const {
    if (earlier == later) return;
    device_->record(event_, earlier);
    device_->wait(later, event_);
  }

 private:
  const Device* device_;
  esp_event event_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_FENCE_HPP
