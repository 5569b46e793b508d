// A stream of the CPU device: a FIFO and one thread that works it off.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/device/cpu/failure.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

struct StreamFacts {
  uint32_t kind = ESP_STREAM_DEVICE;
  uint32_t index = 0;
  int32_t threads = 1;  // that work on this stream may use
  std::string name;
};

class CpuStream final : public Stream {
 public:
  // `retire` is called at the end, with the index.
  CpuStream(StreamFacts facts, Failure& failure, std::function<void(uint32_t)> retire);
  ~CpuStream() override;

  esp_stream handle() const override;
  uint32_t kind() const override { return facts_.kind; }
  uint32_t index() const override { return facts_.index; }
  const std::string& name() const override { return facts_.name; }
  int32_t threads() const { return facts_.threads; }

  // Dropped, not run, once the device has failed. What it throws becomes the device's failure.
  void push(std::function<void()> work) { add({std::move(work), false}); }
  // Runs whatever has failed: signals and marks, which others wait for. Must not throw.
  void push_always(std::function<void()> work) { add({std::move(work), true}); }
  void wait_idle();

 private:
  struct Item {
    std::function<void()> work;
    bool always = false;
  };
  void add(Item item);
  void run();
  void work_off(Item& item);

  StreamFacts facts_;
  Failure& failure_;
  std::function<void(uint32_t)> retire_;
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<Item> queue_;
  bool stopping_ = false;
  std::thread thread_;  // last: starts when all else is there
};

// Of a stream of the CPU device.
inline int32_t threads_of(const Stream& stream) { return static_cast<const CpuStream&>(stream).threads(); }

}  // namespace esp::runtime
