// One GPU of this process as a device, with queues on CPU threads beside its streams.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/cuda/cuda_event.hpp"
#include "runtime/cuda/cuda_stream.hpp"
#include "runtime/device/cpu/cpu_stream.hpp"
#include "runtime/device/cpu/failure.hpp"
#include "runtime/device/device.hpp"
#include "runtime/device/stream_places.hpp"

namespace esp::runtime {

class CudaDevice final : public Device {
 public:
  // cpu_threads: of work on CPU streams.
  CudaDevice(int32_t index, int32_t cpu_threads);
  ~CudaDevice() override;

  int32_t kind() const override { return ESP_CUDA; }
  int32_t index() const override { return index_; }
  std::string name() const override;

  Stream& compute() override { return *compute_; }
  std::unique_ptr<Stream> create_stream(uint32_t kind, int32_t priority, std::string name) override;
  std::unique_ptr<Event> create_event() override;
  void record(Event& event, Stream& stream) override;
  void wait(Stream& stream, Event& event) override;
  void synchronize(Event& event) override;
  void enqueue(Stream& stream, std::function<void()> fn) override;
  void sync(Stream& stream) override;
  void drain() noexcept override;
  void check() override { failure_.check(); }
  void fail(std::exception_ptr failure) noexcept override;
  std::unique_ptr<TimeMark> mark(Stream& stream) override;
  bool captures() const override { return true; }
  void begin_capture() override;
  std::unique_ptr<Graph> end_capture() override;
  void abandon_capture() noexcept override;
  void launch(Graph& graph) override;
  ForeignMemory foreign_memory() override;
  Memory& memory() override { return *memory_; }
  Kernels& kernels() override { return *kernels_; }

  // Called once by fail, on its thread: who could keep a stream waiting for ever ends that. Thread-safe.
  uint64_t on_failure(std::function<void()> act);
  void forget_failure(uint64_t id);
  bool has_cpu_streams() const { return has_cpu_streams_; }  // or had: what they would read is kept up to date

 private:
  // Of a CPU queue: the counter that streams of the GPU wait for.
  struct Tickets {
    uint32_t* counter = nullptr;
    uint32_t issued = 0;
  };
  using HostFunction = std::function<void()>;
  struct HostCall {
    CudaDevice* device;
    HostFunction fn;
    bool repeats;  // owned by a graph
  };

  std::unique_ptr<Stream> create_cpu_stream(std::string name);
  void note_failure(cudaError_t status);
  void set_anchor();
  static void CUDART_CB run_host_call(void* call);
  void refuse_in_capture(const char* what) const;

  const int32_t index_;
  const int32_t cpu_threads_;
  Failure failure_;
  std::unique_ptr<Memory> memory_;
  EventPool events_;
  StreamPlaces<Stream> streams_;
  std::vector<Tickets> tickets_;  // by index of the stream
  std::mutex acts_mutex_;
  std::map<uint64_t, std::function<void()>> failure_acts_;
  uint64_t next_act_ = 1;
  std::unique_ptr<Kernels> kernels_;  // needs the device
  std::unique_ptr<CudaStream> compute_;
  std::shared_ptr<CudaTimeMark::Anchor> anchor_;
  std::chrono::steady_clock::time_point anchored_;
  bool capturing_ = false;
  bool has_cpu_streams_ = false;
  std::vector<std::unique_ptr<HostCall>> captured_calls_;
  CUresult (*wait_value_)(CUstream, CUdeviceptr, cuuint32_t, unsigned int) = nullptr;
  uint64_t device_peak_ = 0;
};

}  // namespace esp::runtime
