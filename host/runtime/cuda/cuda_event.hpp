// Events that order streams of the GPU and queues of the CPU, in any combination.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/device/cpu/completion.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

// Events of the driver for reuse. Thread-safe.
class EventPool {
 public:
  ~EventPool();
  cudaEvent_t take();
  void give_back(cudaEvent_t event);

 private:
  std::mutex mutex_;
  std::vector<cudaEvent_t> free_;
};

// One record on a GPU stream. A new one for every record, since who waits on the CPU asks the driver much later.
class GpuMoment {
 public:
  GpuMoment(EventPool& pool, cudaStream_t stream);
  ~GpuMoment();
  GpuMoment(const GpuMoment&) = delete;
  GpuMoment& operator=(const GpuMoment&) = delete;
  cudaEvent_t event() const { return event_; }

 private:
  EventPool& pool_;
  cudaEvent_t event_;
};

// One record on a CPU queue: `done` for the CPU, and for the GPU a counter of that queue, in pinned memory, that
// reaches `ticket`. The queue is in order, so one counter serves all its records.
struct CpuMoment {
  Completion done;
  uint32_t* counter = nullptr;
  uint32_t ticket = 0;
};

class CudaEvent final : public Event {
 public:
  // At most one is set: where it was recorded last.
  std::shared_ptr<GpuMoment> gpu;
  std::shared_ptr<CpuMoment> cpu;
};

// A moment on a GPU stream, timed by the GPU.
class CudaTimeMark final : public TimeMark {
 public:
  // What times are counted from: elapsed times are floats, so that now and then a later anchor is needed.
  class Anchor {
   public:
    // before: NULL for the first one, which is second 0.
    Anchor(std::shared_ptr<Anchor> before, cudaStream_t stream);
    ~Anchor();
    double seconds();  // of itself; waits for the GPU
    cudaEvent_t event() const { return event_; }

   private:
    std::shared_ptr<Anchor> before_;
    cudaEvent_t event_ = nullptr;
    double seconds_ = 0;
  };
  // captured: the stream is being captured, and every launch of the graph sets the mark anew.
  CudaTimeMark(std::shared_ptr<Anchor> anchor, cudaStream_t stream, bool captured);
  ~CudaTimeMark() override;
  double seconds() override;

 private:
  std::shared_ptr<Anchor> anchor_;
  cudaEvent_t event_ = nullptr;
};

}  // namespace esp::runtime
