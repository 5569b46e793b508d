#include "runtime/cuda/cuda_event.hpp"

#include <utility>

#include "runtime/cuda/cuda_check.hpp"

namespace esp::runtime {

EventPool::~EventPool() {
  for (cudaEvent_t event : free_) cudaEventDestroy(event);
}

cudaEvent_t EventPool::take() {
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      cudaEvent_t event = free_.back();
      free_.pop_back();
      return event;
    }
  }
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  return event;
}

void EventPool::give_back(cudaEvent_t event) {
  std::lock_guard lock(mutex_);
  free_.push_back(event);
}

GpuMoment::GpuMoment(EventPool& pool, cudaStream_t stream) : pool_(pool), event_(pool.take()) {
  const cudaError_t status = cudaEventRecord(event_, stream);
  if (status == cudaSuccess) return;
  pool_.give_back(event_);
  check_cuda(status, "recording an event");
}

GpuMoment::~GpuMoment() { pool_.give_back(event_); }

namespace {

cudaEvent_t timed_event(cudaStream_t stream, unsigned flags = cudaEventRecordDefault) {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreate(&event), "creating a timing event");
  const cudaError_t status = cudaEventRecordWithFlags(event, stream, flags);
  if (status != cudaSuccess) cudaEventDestroy(event);
  check_cuda(status, "recording a timing event");
  return event;
}

double seconds_between(cudaEvent_t from, cudaEvent_t to) {
  check_cuda(cudaEventSynchronize(to), "waiting for the GPU");
  float ms = 0;
  check_cuda(cudaEventElapsedTime(&ms, from, to), "reading a timing event");
  return ms * 1e-3;
}

}  // namespace

CudaTimeMark::Anchor::Anchor(std::shared_ptr<Anchor> before, cudaStream_t stream)
    : before_(std::move(before)), event_(timed_event(stream)) {}

CudaTimeMark::Anchor::~Anchor() { cudaEventDestroy(event_); }

double CudaTimeMark::Anchor::seconds() {
  if (before_ != nullptr) {
    seconds_ = before_->seconds() + seconds_between(before_->event(), event_);
    before_.reset();
  }
  return seconds_;
}

CudaTimeMark::CudaTimeMark(std::shared_ptr<Anchor> anchor, cudaStream_t stream, bool captured)
    : anchor_(std::move(anchor)),
      event_(timed_event(stream, captured ? cudaEventRecordExternal : cudaEventRecordDefault)) {}

CudaTimeMark::~CudaTimeMark() { cudaEventDestroy(event_); }

double CudaTimeMark::seconds() { return anchor_->seconds() + seconds_between(anchor_->event(), event_); }

}  // namespace esp::runtime
