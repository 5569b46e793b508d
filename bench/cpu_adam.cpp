// How fast the CPU applies AdamW, against what its memory can do.
//   cpu_adam_bench [threads] [millions of elements] [repeats]
// Prints the best of the repeats. Bytes are those that have to cross: a half gradient in, fp32 master and two moments
// in and out, half weights out, 28 an element.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/device/device.hpp"
#include "runtime/device/dtype.hpp"

namespace {

using esp::runtime::bytes_of;
using esp::runtime::Device;
using esp::runtime::UpdateBlock;
using esp::runtime::UpdateInputs;
using esp::runtime::UpdateRange;
using esp::runtime::UpdateRules;

constexpr uint64_t kChunk = 7 * 1000 * 1000;  // elements of a range, as a block of ViT base has them

class Bench {
 public:
  Bench(int threads, uint64_t elements, int repeats)
      : n_(elements), repeats_(repeats), device_(esp::runtime::make_cpu_device(threads)) {
    for (float*& memory : floats_) memory = static_cast<float*>(allocate(n_ * sizeof(float)));
    for (void*& memory : halves_) memory = allocate(n_ * sizeof(uint16_t));
    for (uint64_t i = 0; i < n_; ++i) floats_[0][i] = static_cast<float>(i % 1013) * 1e-3f - 0.5f;
  }

  void copy() {
    print("copy", 8, [&] { device_->kernels().copy(device_->compute(), floats_[1], floats_[0], n_ * sizeof(float)); });
  }

  void adamw(esp_dtype half, bool writes_half) {
    auto& kernels = device_->kernels();
    kernels.convert(device_->compute(), halves_[0], half, floats_[0], ESP_F32, n_);
    kernels.zero(device_->compute(), floats_[1], n_ * sizeof(float));
    kernels.zero(device_->compute(), floats_[2], n_ * sizeof(float));
    const UpdateRules rules;
    UpdateInputs inputs;
    inputs.n_groups = 1;
    inputs.lr[0] = 1e-3;
    kernels.begin_update(device_->compute(), block_.get(), rules, inputs);
    const std::vector<UpdateRange> ranges = cut(half, writes_half);
    const std::string name =
        "adamw " + esp::runtime::name_of(half) + (writes_half ? " with weights out" : " without weights out");
    print(name, writes_half ? 28 : 26, [&] {
      for (const UpdateRange& range : ranges) kernels.apply(device_->compute(), block_.get(), rules, {&range, 1});
    });
  }

 private:
  void* allocate(uint64_t bytes) { return arena_.alloc(ESP_PINNED, bytes, ESP_TAG_OTHER); }

  std::vector<UpdateRange> cut(esp_dtype half, bool writes_half) const {
    std::vector<UpdateRange> ranges;
    for (uint64_t at = 0; at < n_; at += kChunk) {
      UpdateRange range;
      range.n = std::min(kChunk, n_ - at);
      range.master = floats_[0] + at;
      range.slots[0] = floats_[1] + at;
      range.slots[1] = floats_[2] + at;
      range.grad = static_cast<const char*>(halves_[0]) + at * bytes_of(half);
      range.grad_t = range.out_t = half;
      if (writes_half) range.out = static_cast<char*>(halves_[1]) + at * bytes_of(half);
      ranges.push_back(range);
    }
    return ranges;
  }

  void print(const std::string& name, int bytes_an_element, const std::function<void()>& enqueue) {
    double best = 1e30;
    for (int i = 0; i <= repeats_; ++i) {  // the first is not counted
      device_->sync(device_->compute());
      const auto begin = std::chrono::steady_clock::now();
      enqueue();
      device_->sync(device_->compute());
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      if (i > 0) best = std::min(best, took.count());
    }
    const double bytes = static_cast<double>(n_) * bytes_an_element;
    std::printf("%-32s %8.2f ms  %7.2f GB/s  %6.3f ns an element\n", name.c_str(), best * 1e3, bytes / best * 1e-9,
                best * 1e9 / static_cast<double>(n_));
  }

  uint64_t n_;
  int repeats_;
  std::unique_ptr<Device> device_;
  esp::runtime::Arena arena_{device_->memory(), "bench"};
  std::unique_ptr<UpdateBlock> block_ = [] {
    auto block = std::make_unique<UpdateBlock>();
    block->loss_scale = 1;
    return block;
  }();
  float* floats_[3] = {};  // master, moments
  void* halves_[2] = {};   // gradient, weights
};

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const uint64_t millions = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 28;
  const int repeats = argc > 3 ? std::atoi(argv[3]) : 10;
  if (threads < 1 || millions < 1 || repeats < 1) {
    std::fprintf(stderr, "usage: cpu_adam_bench [threads] [millions of elements] [repeats]\n");
    return 2;
  }
  Bench bench(threads, millions * 1000 * 1000, repeats);
  bench.copy();
  bench.adamw(ESP_BF16, true);
  bench.adamw(ESP_F16, true);
  bench.adamw(ESP_BF16, false);
}
