#include "runtime/comm/queued_communicator.hpp"

#include <utility>

namespace esp::runtime {

QueuedCommunicator::QueuedCommunicator(Device& device, std::unique_ptr<HostCollectives> host)
    : device_(device), host_(std::move(host)), order_(device) {}

void QueuedCommunicator::issue(const CollectiveCall& call, const void* in, void* out, Stream& stream) {
  order_.begin(stream);
  device_.enqueue(stream, [host = host_.get(), call, in, out] { host->run(call, in, out); });
  order_.end(stream);
}

std::unique_ptr<Communicator> QueuedCommunicator::subset(std::span<const int32_t> ranks) {
  auto host = host_->subset(ranks);
  return host == nullptr ? nullptr : std::make_unique<QueuedCommunicator>(device_, std::move(host));
}

}  // namespace esp::runtime
