// Collectives of a GPU's memory through pinned memory and the CPU: for ranks that share a GPU, which NCCL refuses, and
// for a rank that is alone.
#pragma once

#include <memory>

#include "runtime/comm/call_order.hpp"
#include "runtime/comm/counted_communicator.hpp"

namespace esp::runtime {

// What a communicator and its subsets have in common. A GPU's driver runs the host functions of all streams one after
// the other: were two groups not kept in one order, each of two ranks could sit in the collective that the other one
// has yet to reach. So one order, and one buffer, serve them all.
class StagingLine {
 public:
  explicit StagingLine(Device& device);

  CallOrder& order() { return order_; }
  // Pinned. Grows, by allocation, when a collective is larger than all before it: let it happen before a step is
  // captured. Outgrown buffers stay, since queued work and graphs use them.
  void* buffer(uint64_t bytes);

 private:
  Arena arena_;
  CallOrder order_;
  void* buffer_ = nullptr;
  uint64_t capacity_ = 0;
};

// On any device, and on its CPU streams, too. Captured into a graph, a collective repeats at every launch: the graph
// must not be launched after the communicator has gone.
class StagedCommunicator final : public CountedCommunicator {
 public:
  StagedCommunicator(Device& device, std::unique_ptr<HostCollectives> host);

  std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) override;
  void forget_order() override { line_->order().forget(); }

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
