// A GPU and, as the oracle, the CPU device, with memory to play in on both.
#pragma once

#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gpu_library.hpp"
#include "rig.hpp"
#include "runtime/device/dtype.hpp"

namespace esp::runtime::test {

// The same array on both devices.
struct Twin {
  void* cpu = nullptr;
  void* gpu = nullptr;
  uint64_t bytes = 0;
};

// Which of the two a call works on.
struct OnCpu {
  template <class T = void>
  T* operator()(const Twin& twin, uint64_t bytes = 0) const {
    return static_cast<T*>(static_cast<void*>(static_cast<char*>(twin.cpu) + bytes));
  }
};
struct OnGpu {
  template <class T = void>
  T* operator()(const Twin& twin, uint64_t bytes = 0) const {
    return static_cast<T*>(static_cast<void*>(static_cast<char*>(twin.gpu) + bytes));
  }
};

class GpuRig : public ::testing::Test {
 protected:
  void SetUp() override {
    ESPALIER_NEED(gpus_missing_here(1));
    gpu_ = cuda().make_device(0, 1);
    arena_ = std::make_unique<Arena>(gpu_->memory(), "test");
  }
  void TearDown() override {
    if (gpu_ != nullptr) gpu_->drain();
  }

  Stream& compute() { return gpu_->compute(); }
  Kernels& kernels() { return gpu_->kernels(); }
  void sync() {
    gpu_->sync(gpu_->compute());
    cpu_->sync(cpu_->compute());
  }

  // Memory of the GPU or pinned, zeroed.
  template <class T>
  T* make(uint64_t n, uint32_t place = ESP_DEVICE) {
    return static_cast<T*>(arena_->alloc(place, n * sizeof(T), ESP_TAG_OTHER));
  }
  template <class T>
  void set(T* target, const std::vector<T>& values) {
    kernels().copy(compute(), target, values.data(), values.size() * sizeof(T));
    gpu_->sync(compute());
  }
  template <class T>
  std::vector<T> read(const T* from, uint64_t n) {
    std::vector<T> values(n);
    kernels().copy(compute(), values.data(), from, n * sizeof(T));
    gpu_->sync(compute());
    return values;
  }

  // place: of the GPU's half.
  Twin twin(uint64_t bytes, uint32_t place = ESP_DEVICE) {
    return {cpu_arena_.alloc(ESP_DEVICE, bytes, ESP_TAG_OTHER), arena_->alloc(place, bytes, ESP_TAG_OTHER), bytes};
  }
  void push(const Twin& twin) {
    kernels().copy(compute(), twin.gpu, twin.cpu, twin.bytes);
    gpu_->sync(compute());
  }
  Twin twin_of(const std::vector<double>& values, esp_dtype dtype, uint32_t place = ESP_DEVICE) {
    const Twin made = twin(values.size() * bytes_of(dtype), place);
    cpu_->kernels().convert(cpu_->compute(), made.cpu, dtype, values.data(), ESP_F64, values.size());
    cpu_->sync(cpu_->compute());
    push(made);
    return made;
  }
  Twin random(uint64_t n, esp_dtype dtype, double scale = 1, uint32_t place = ESP_DEVICE) {
    std::normal_distribution<double> normal(0, scale);
    std::vector<double> values(n);
    for (double& value : values) value = normal(engine_);
    return twin_of(values, dtype, place);
  }
  // call(kernels, stream, at) on both devices, then waits; at(twin) is the half of that device.
  template <class Call>
  void both(Call call) {
    call(cpu_->kernels(), cpu_->compute(), OnCpu{});
    call(kernels(), compute(), OnGpu{});
    sync();
  }
  // The first byte that differs, or -1.
  int64_t difference(const Twin& twin) {
    const auto gpu = read(static_cast<const unsigned char*>(twin.gpu), twin.bytes);
    const auto* cpu = static_cast<const unsigned char*>(twin.cpu);
    for (uint64_t i = 0; i < twin.bytes; ++i) {
      if (cpu[i] != gpu[i]) return static_cast<int64_t>(i);
    }
    return -1;
  }
  static constexpr int64_t kNone = -1;

  std::unique_ptr<Device> cpu_ = make_cpu_device(1);
  Arena cpu_arena_{cpu_->memory(), "oracle"};
  std::unique_ptr<Device> gpu_;
  std::unique_ptr<Arena> arena_;
  std::mt19937_64 engine_{3};
};

// Opens a gate when work that should not have passed it has had time to.
inline void open_late(Gate& gate) {
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  gate.open();
}

}  // namespace esp::runtime::test
