// The CPU as a device: streams are threads, DEVICE and PINNED memory are both heap memory but kept apart.
#pragma once

#include <bitset>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/device/cpu/cpu_stream.hpp"
#include "runtime/device/device.hpp"
#include "runtime/device/stream_places.hpp"

namespace esp::runtime {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int32_t threads);
  ~CpuDevice() override;

  int32_t kind() const override { return ESP_CPU; }
  int32_t index() const override { return 0; }
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
  void fail(std::exception_ptr failure) noexcept override { failure_.set(std::move(failure)); }
  std::unique_ptr<TimeMark> mark(Stream& stream) override;
  Memory& memory() override { return *memory_; }
  Kernels& kernels() override { return *kernels_; }

 private:
  std::unique_ptr<CpuStream> make_stream(uint32_t kind, int32_t threads, std::string name);

  Failure failure_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Kernels> kernels_;
  StreamPlaces<CpuStream> streams_;
  std::unique_ptr<CpuStream> compute_;
};

}  // namespace esp::runtime
