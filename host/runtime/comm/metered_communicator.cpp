#include "runtime/comm/metered_communicator.hpp"

#include <utility>

namespace esp::runtime {

using Kind = StallMeter::Kind;

MeteredCommunicator::MeteredCommunicator(std::unique_ptr<Communicator> inner, StallMeter& meter)
    : inner_(std::move(inner)), meter_(meter) {}

void MeteredCommunicator::all_reduce(const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op,
                                     Stream& stream) {
  meter_.around(stream, Kind::kCollective, [&] { inner_->all_reduce(in, out, n, dtype, op, stream); });
}

void MeteredCommunicator::reduce_scatter(const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op,
                                         Stream& stream) {
  meter_.around(stream, Kind::kCollective, [&] { inner_->reduce_scatter(in, out, n_out, dtype, op, stream); });
}

void MeteredCommunicator::all_gather(const void* in, void* out, uint64_t n_in, esp_dtype dtype, Stream& stream) {
  meter_.around(stream, Kind::kCollective, [&] { inner_->all_gather(in, out, n_in, dtype, stream); });
}

std::unique_ptr<Communicator> MeteredCommunicator::subset(std::span<const int32_t> ranks) {
  auto part = inner_->subset(ranks);
  return part == nullptr ? nullptr : std::make_unique<MeteredCommunicator>(std::move(part), meter_);
}

}  // namespace esp::runtime
