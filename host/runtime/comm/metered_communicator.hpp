// A communicator whose collectives a StallMeter times.
#pragma once

#include <memory>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/stall_meter.hpp"

namespace esp::runtime {

class MeteredCommunicator final : public Communicator {
 public:
  // The meter must outlive it and its subsets.
  MeteredCommunicator(std::unique_ptr<Communicator> inner, StallMeter& meter);

  int32_t rank() const override { return inner_->rank(); }
  int32_t size() const override { return inner_->size(); }
  std::span<const int32_t> members() const override { return inner_->members(); }
  void all_reduce(const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op, Stream& stream) override;
  void reduce_scatter(const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op, Stream& stream) override;
  void all_gather(const void* in, void* out, uint64_t n_in, esp_dtype dtype, Stream& stream) override;
  std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) override;
  void forget_order() override { inner_->forget_order(); }
  CommCounters counters() const override { return inner_->counters(); }

 private:
  std::unique_ptr<Communicator> inner_;
  StallMeter& meter_;
};

}  // namespace esp::runtime
