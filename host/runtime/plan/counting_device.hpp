// A device on which nothing runs: what is enqueued is dropped, memory is counted. For dry runs, with or without a GPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/device/device.hpp"
#include "runtime/plan/counting_memory.hpp"

namespace esp::runtime {

class CountingDevice final : public Device {
 public:
  explicit CountingDevice(int32_t kind);  // ESP_CPU or ESP_CUDA: what plugins are told
  ~CountingDevice() override;

  int32_t kind() const override { return kind_; }
  int32_t index() const override { return 0; }
  std::string name() const override { return "dry run"; }

  Stream& compute() override { return *compute_; }
  std::unique_ptr<Stream> create_stream(uint32_t kind, int32_t priority, std::string name) override;
  std::unique_ptr<Event> create_event() override { return std::make_unique<Event>(); }
  void record(Event&, Stream&) override {}
  void wait(Stream&, Event&) override {}
  void synchronize(Event&) override {}
  void enqueue(Stream&, std::function<void()>) override {}
  void sync(Stream&) override {}
  void drain() noexcept override {}
  void check() override {}
  void fail(std::exception_ptr) noexcept override {}
  std::unique_ptr<TimeMark> mark(Stream& stream) override;

  CountingMemory& memory() override { return memory_; }
  Kernels& kernels() override { return *kernels_; }

 private:
  int32_t kind_;
  uint32_t streams_ = 0;  // created so far
  CountingMemory memory_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Stream> compute_;
};

}  // namespace esp::runtime
