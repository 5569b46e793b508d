#include "runtime/comm/staged_communicator.hpp"

#include <algorithm>
#include <utility>

namespace esp::runtime {
namespace {

constexpr uint64_t kAlignment = 256;

uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

StagedCommunicator::StagedCommunicator(Device& device, std::unique_ptr<HostCollectives> host)
    : StagedCommunicator(device, std::move(host), std::make_shared<StagingLine>(device)) {}

StagedCommunicator::StagedCommunicator(Device& device, std::unique_ptr<HostCollectives> host,
                                       std::shared_ptr<StagingLine> line)
    : device_(device), host_(std::move(host)), line_(std::move(line)) {}

void StagedCommunicator::issue(const CollectiveCall& call, const void* in, void* out, Stream& stream) {
  line_->order.begin(stream);
  if (size() == 1) {
    device_.kernels().copy(stream, out, in, input_bytes(call, 1));
  } else if (stream.kind() == ESP_STREAM_CPU) {  // whose memory is pinned already
    device_.enqueue(stream, [host = host_.get(), call, in, out] { host->run(call, in, out); });
  } else {
    issue_staged(call, in, out, stream);
  }
  line_->order.end(stream);
}

void StagedCommunicator::issue_staged(const CollectiveCall& call, const void* in, void* out, Stream& stream) {
  const uint64_t n_ranks = group().size();
  const uint64_t bytes_in = input_bytes(call, n_ranks), bytes_out = output_bytes(call, n_ranks);
  const bool in_place = call.kind == Collective::kAllReduce;
  const uint64_t offset_out = in_place ? 0 : aligned(bytes_in);
  auto* staged_in = static_cast<char*>(line_->buffer.get(offset_out + bytes_out));
  char* staged_out = staged_in + offset_out;
  device_.kernels().copy(stream, staged_in, in, bytes_in);
  device_.enqueue(stream,
                  [host = host_.get(), call, staged_in, staged_out] { host->run(call, staged_in, staged_out); });
  device_.kernels().copy(stream, out, staged_out, bytes_out);
}

std::unique_ptr<Communicator> StagedCommunicator::subset(std::span<const int32_t> ranks) {
  auto host = host_->subset(ranks);
  if (host == nullptr) return nullptr;
  return std::unique_ptr<Communicator>(new StagedCommunicator(device_, std::move(host), line_));
}

}  // namespace esp::runtime
