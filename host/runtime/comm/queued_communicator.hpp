// Collectives as items of CPU queues, in the order of their calls.
#pragma once

#include <memory>

#include "runtime/comm/call_order.hpp"
#include "runtime/comm/counted_communicator.hpp"

namespace esp::runtime {

// On the CPU device.
class QueuedCommunicator final : public CountedCommunicator {
 public:
  QueuedCommunicator(Device& device, std::unique_ptr<HostCollectives> host);

  std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) override;

 private:
  const GroupFacts& group() const override { return host_->facts(); }
  void issue(const CollectiveCall& call, const void* in, void* out, Stream& stream) override;

  Device& device_;
  std::unique_ptr<HostCollectives> host_;  // run by queues, one call at a time
  CallOrder order_;
};

}  // namespace esp::runtime
