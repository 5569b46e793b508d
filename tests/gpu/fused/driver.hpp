// Drives libvit_cuda.so as a host would, with memory of its own and one flat block of parameters.
#pragma once

#include <dlfcn.h>

#include <espalier/failure.hpp>
#include <map>
#include <memory>

#include "fused_setup.hpp"
#include "support.hpp"

namespace esp::vit::fused::test {

class FakeHost {
 public:
  FakeHost() {
    memory_.struct_size = sizeof memory_;
    memory_.alloc = [](void* ctx, uint32_t, uint64_t bytes, uint32_t tag, uint32_t, void** out,
                       esp_error*) -> esp_status {
      cuda(cudaMalloc(out, bytes), "cudaMalloc for the executor");
      cuda(cudaMemset(*out, 0xff, bytes), "poison");  // nothing may be read before it is written
      static_cast<FakeHost*>(ctx)->taken_[*out] = {bytes, tag};
      return ESP_OK;
    };
    memory_.free = [](void* ctx, void* memory) {
      cudaFree(memory);
      static_cast<FakeHost*>(ctx)->taken_.erase(memory);
    };
  }
  const esp_memory_v1& memory() const { return memory_; }
  uint64_t bytes(uint32_t tag) const {
    uint64_t sum = 0;
    for (const auto& [address, piece] : taken_) sum += piece.second == tag ? piece.first : 0;
    return sum;
  }

 private:
  esp_memory_v1 memory_{};
  std::map<void*, std::pair<uint64_t, uint32_t>> taken_;
};

struct Job {
  ViTConfig config;
  esp_dtype compute = ESP_BF16;
  esp_dtype gradients = ESP_BF16;
  uint32_t rows = 8, eval_rows = 8, n_micro = 1;
  Keep keep = Keep::kAll;
  bool aside = false;        // step.grads is a stream of its own
  bool side_by_side = true;  // query, key and value lie so that they can be used together
  uint64_t seed = 1;
  float loss_seed = 0;  // 0: 1 / rows
};

// Values of all parameters, in compute dtype, and a batch.
struct Content {
  std::vector<std::vector<float>> parameters;  // already rounded
  std::vector<uint8_t> pixels, flip;
  std::vector<int64_t> labels;
};
Content make_content(const Job& job, const ViTParameters& parameters);

class Driver {
 public:
  Driver(const Job& job, const FusedTable& table);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  const ViTParameters& parameters() const { return parameters_; }
  const Content& content() const { return content_; }
  const FakeHost& host() const { return host_; }

  void set_valid(const std::vector<uint32_t>& valid);
  void set_pixels(const std::vector<uint8_t>& pixels);
  void poison_gradients();
  // One pass over all micro-batches (each has the same batch); asynchronous.
  void step(uint64_t index);
  // The same, as a graph: captured once, then median ms of `repeats` replays.
  double replay(int repeats);
  std::vector<int32_t> evaluate(uint32_t valid);
  void sync();

  // After step: per parameter.
  std::vector<std::vector<float>> gradients();
  double loss_sum();
  uint64_t correct();
  void clear_metrics();
  cudaStream_t stream() const { return stream_; }

 private:
  void lay_out();
  void pass(uint64_t index, uint32_t flags);
  void enqueue(uint64_t index, uint32_t flags);
  void order(cudaStream_t earlier, cudaStream_t later);
  template <class Function, class... Arguments>
  void ask(const char* what, Function* function, Arguments... arguments) {
    call(what, function, self_, arguments...);
  }

  const Job job_;
  const FusedTable& table_;
  const ViTParameters parameters_;
  const Content content_;
  FakeHost host_;
  cudaStream_t stream_ = nullptr, grads_ = nullptr;
  cudaEvent_t ordered_ = nullptr;
  std::vector<size_t> offsets_;  // elements
  size_t elements_ = 0;
  std::unique_ptr<DeviceArray<uint16_t>> weights_;
  std::unique_ptr<DeviceArray<char>> gradients_;
  std::unique_ptr<DeviceArray<uint8_t>> pixels_, flip_;
  std::unique_ptr<DeviceArray<int64_t>> labels_;
  std::unique_ptr<DeviceArray<float>> seed_;
  std::unique_ptr<DeviceArray<uint32_t>> valid_;
  std::unique_ptr<DeviceArray<double>> loss_;
  std::unique_ptr<DeviceArray<uint64_t>> correct_;
  std::unique_ptr<DeviceArray<int32_t>> predicted_;
  void* self_ = nullptr;
};

const FusedTable& load_library(const std::string& path);
// The largest relative distance over parameters, and over all of them together.
struct Distance {
  double whole = 0, worst = 0;
  size_t worst_at = 0;
  bool same_bits = true;
};
Distance distance(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& wanted);

}  // namespace esp::vit::fused::test
