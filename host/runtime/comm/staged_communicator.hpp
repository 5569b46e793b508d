// Collectives of a GPU's memory through pinned memory and the CPU: for ranks that share a GPU, which NCCL refuses, and
// for a rank that is alone.
#pragma once

#include <memory>

#include "runtime/comm/call_order.hpp"
#include "runtime/comm/counted_communicator.hpp"
#include "runtime/comm/growing_buffer.hpp"

namespace esp::runtime {

// What a communicator and its subsets have in common. A GPU's driver runs the host functions of all streams one after
// the other: were two groups not kept in one order, each of two ranks could sit in the collective that the other one
// has yet to reach. So one order, and one buffer, serve them all.
struct StagingLine {
  explicit StagingLine(Device& device) : order(device), buffer(device.memory(), ESP_PINNED) {}

  CallOrder order;
  GrowingBuffer buffer;
};

// On any device, and on its CPU streams, too. Captured into a graph, a collective repeats at every launch: the graph
// must not be launched after the communicator has gone.
class StagedCommunicator final : public CountedCommunicator {
 public:
  StagedCommunicator(Device& device, std::unique_ptr<HostCollectives> host);

  std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) override;
  void forget_order() override { line_->order.forget(); }

 private:
  StagedCommunicator(Device& device, std::unique_ptr<HostCollectives> host, std::shared_ptr<StagingLine> line);
  const GroupFacts& group() const override { return host_->facts(); }
  void issue(const CollectiveCall& call, const void* in, void* out, Stream& stream) override;
  void issue_staged(const CollectiveCall& call, const void* in, void* out, Stream& stream);

  Device& device_;
  std::unique_ptr<HostCollectives> host_;  // run by host functions, one call at a time
  std::shared_ptr<StagingLine> line_;
};

}  // namespace esp::runtime
