// A communicator that takes a known time.
#pragma once

#include <chrono>
#include <memory>
#include <thread>

#include "runtime/comm/counted_communicator.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime::test {

// Two ranks of which only this one is there: a collective moves nothing and takes its time.
class SlowCommunicator final : public CountedCommunicator {
 public:
  SlowCommunicator(Device& device, std::chrono::milliseconds delay) : device_(device), delay_(delay) {}
  std::unique_ptr<Communicator> subset(std::span<const int32_t>) override {
    return std::make_unique<SlowCommunicator>(device_, delay_);
  }

 private:
  const GroupFacts& group() const override { return facts_; }
  void issue(const CollectiveCall&, const void*, void*, Stream& stream) override {
    device_.enqueue(stream, [delay = delay_] { std::this_thread::sleep_for(delay); });
  }

  Device& device_;
  std::chrono::milliseconds delay_;
  GroupFacts facts_{"slow", 0, {0, 1}};
};

}  // namespace esp::runtime::test
