// Collectives one after the other, whatever streams they are on.
#pragma once

#include <memory>

#include "runtime/device/device.hpp"

namespace esp::runtime {

class CallOrder {
 public:
  explicit CallOrder(Device& device) : device_(device), last_(device.create_event()) {}

  void begin(Stream& stream) {
    if (ordered_) device_.wait(stream, *last_);
  }
  void end(Stream& stream) {
    device_.record(*last_, stream);
    ordered_ = true;
  }
  void forget() { ordered_ = false; }  // see Communicator::forget_order

 private:
  Device& device_;
  std::unique_ptr<Event> last_;  // the previous collective's end
  bool ordered_ = false;
};

}  // namespace esp::runtime
