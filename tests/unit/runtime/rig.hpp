// A CPU device with memory to play in.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "error.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime::test {

// A gate that queued work waits at until the test opens it.
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class Rig : public ::testing::Test {
 protected:
  template <class T>
  std::span<T> array(const std::vector<T>& values, uint32_t place = ESP_DEVICE) {
    auto* memory = static_cast<T*>(arena_.alloc(place, values.size() * sizeof(T), ESP_TAG_OTHER));
    std::memcpy(memory, values.data(), values.size() * sizeof(T));
    return {memory, values.size()};
  }
  template <class T>
  static std::vector<T> copied(std::span<T> values) {
    return {values.begin(), values.end()};
  }
  Stream& compute() { return device_->compute(); }
  Kernels& kernels() { return device_->kernels(); }
  void sync() { device_->sync(compute()); }

  std::unique_ptr<Device> device_ = make_cpu_device(1);
  Arena arena_{device_->memory(), "test"};
};

// The exit code and text of the Error that body throws; code kOk when it throws none.
struct Caught {
  ExitCode code = ExitCode::kOk;
  std::string text;
};
template <class Body>
Caught caught(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

}  // namespace esp::runtime::test
