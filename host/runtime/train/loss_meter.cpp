#include "runtime/train/loss_meter.hpp"

#include <algorithm>

namespace esp::runtime {
namespace {

constexpr int32_t kSummingPriority = -3;  // as collectives of strategies

}  // namespace

LossMeter::LossMeter(Device& device, Communicator& data, StallMeter* stalls, uint32_t eval_rows)
    : device_(device),
      data_(data),
      stalls_(stalls),
      forked_(device.create_event()),
      summed_(device.create_event()),
      arena_(device.memory(), "metrics"),
      eval_rows_(std::max(eval_rows, 1u)) {
  if (data.size() > 1) summing_ = device.create_stream(ESP_STREAM_DEVICE, kSummingPriority, "losses");
  const auto size = static_cast<uint64_t>(data.size());
  const uint64_t sums_bytes = sizeof(double) * size;
  sums_ = static_cast<double*>(arena_.alloc(ESP_DEVICE, sums_bytes + sizeof(uint64_t), ESP_TAG_OTHER));
  correct_ = reinterpret_cast<uint64_t*>(sums_ + size);
  predicted_ = static_cast<int32_t*>(arena_.alloc(ESP_DEVICE, sizeof(int32_t) * eval_rows_, ESP_TAG_OTHER));
  local_sum_host_ = static_cast<double*>(arena_.alloc(ESP_PINNED, sizeof(double), ESP_TAG_OTHER));
  correct_host_ = static_cast<uint64_t*>(arena_.alloc(ESP_PINNED, sizeof(uint64_t), ESP_TAG_OTHER));
  predicted_host_ = static_cast<int32_t*>(arena_.alloc(ESP_PINNED, sizeof(int32_t) * eval_rows_, ESP_TAG_OTHER));
  for (int slot = 0; slot < kSlots; ++slot) {
    sums_host_[slot] = static_cast<double*>(arena_.alloc(ESP_PINNED, sums_bytes, ESP_TAG_OTHER));
    copied_[slot] = device.create_event();
  }
}

LossMeter::~LossMeter() {
  for (auto& event : copied_) device_.synchronize(*event);
}

void LossMeter::begin() {
  const uint64_t sums_bytes = sizeof(double) * static_cast<uint64_t>(data_.size());
  device_.kernels().zero(device_.compute(), sums_, sums_bytes + sizeof(uint64_t));
}

// One entry a rank, so the total is added in rank order on every rank, and a non-finite loss can be traced to its rank.
void LossMeter::sum() {
  if (summing_ == nullptr) return;
  device_.record(*forked_, device_.compute());
  device_.wait(*summing_, *forked_);
  data_.all_reduce(sums_, sums_, static_cast<uint64_t>(data_.size()), ESP_F64, ESP_SUM, *summing_);
  device_.record(*summed_, *summing_);
}

void LossMeter::join() {
  if (summing_ == nullptr) return;
  Stream& compute = device_.compute();
  const auto wait = [&] { device_.wait(compute, *summed_); };
  if (stalls_ == nullptr) return wait();
  stalls_->around(compute, StallMeter::Kind::kWait, wait);
}

void LossMeter::end(uint64_t step) {
  Stream& compute = device_.compute();
  const auto size = static_cast<uint64_t>(data_.size());
  const int slot = static_cast<int>(step % kSlots);
  device_.kernels().copy(compute, sums_host_[slot], sums_, sizeof(double) * size);
  device_.record(*copied_[slot], compute);
}

std::vector<double> LossMeter::read(uint64_t step) {
  const int slot = static_cast<int>(step % kSlots);
  device_.synchronize(*copied_[slot]);
  device_.check();
  return {sums_host_[slot], sums_host_[slot] + data_.size()};
}

LossMeter::Local LossMeter::read_local() {
  Stream& compute = device_.compute();
  device_.kernels().copy(compute, local_sum_host_, loss_sum(), sizeof(double));
  device_.kernels().copy(compute, correct_host_, correct_, sizeof(uint64_t));
  device_.sync(compute);
  return {*local_sum_host_, *correct_host_};
}

const int32_t* LossMeter::read_predicted() {
  Stream& compute = device_.compute();
  device_.kernels().copy(compute, predicted_host_, predicted_, sizeof(int32_t) * eval_rows_);
  device_.sync(compute);
  return predicted_host_;
}

}  // namespace esp::runtime
