// esp.update on both devices, fed with the same gradients.
#pragma once

#include <cmath>
#include <vector>

#include "gpu_rig.hpp"
#include "runtime/update/update_service.hpp"

namespace esp::runtime::test {

// A few parameters of odd sizes in two groups, of which the first decays.
inline const std::vector<UpdateParam> kParams{{1025, 0, true}, {7, 1, true}, {5000, 0, true}};

inline UpdateConfig config_of(OptimizerKind optimizer) {
  UpdateConfig config;
  config.optimizer = optimizer;
  config.beta2 = 0.99;
  config.eps = 1e-6;
  config.momentum = 0.9;
  config.weight_decay = {0.1, 0.0};
  config.params = kParams;
  return config;
}

// One device's half: arrays by parameter, and the service.
class UpdateHalf {
 public:
  // place: of all arrays.
  UpdateHalf(Device& device, const UpdateConfig& config, esp_dtype half, uint32_t place)
      : device_(device), arena_(device.memory(), "half"), half_(half), service(device, config) {
    const auto make = [&](uint64_t bytes) { return arena_.alloc(place, bytes, ESP_TAG_OTHER); };
    for (const UpdateParam& param : config.params) {
      masters_.push_back(static_cast<float*>(make(param.numel * 4)));
      grads_.push_back(make(param.numel * bytes_of(half)));
      outs_.push_back(make(param.numel * bytes_of(half)));
      slots_.push_back({make(param.numel * 4), make(param.numel * 4)});
    }
  }

  void put(const std::vector<std::vector<float>>& values, bool gradients) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (!gradients) {
        device_.kernels().copy(device_.compute(), masters_[i], values[i].data(), values[i].size() * 4);
        continue;
      }
      auto* wide = static_cast<float*>(arena_.alloc(ESP_DEVICE, values[i].size() * 4, ESP_TAG_OTHER));
      device_.kernels().copy(device_.compute(), wide, values[i].data(), values[i].size() * 4);
      device_.kernels().convert(device_.compute(), grads_[i], half_, wide, ESP_F32, values[i].size());
      device_.sync(device_.compute());
      arena_.free(wide);
    }
    device_.sync(device_.compute());
  }

  void add_norms(Stream& stream) {
    for (size_t i = 0; i < grads_.size(); ++i) service.norm_add(grads_[i], kParams[i].numel, half_, stream);
  }
  void apply(Stream& stream) {
    std::vector<esp_range> ranges;
    for (size_t i = 0; i < grads_.size(); ++i) {
      ranges.push_back({ESP_UPTO(esp_range, out_t), static_cast<uint32_t>(i), 0, kParams[i].numel, masters_[i],
                        slots_[i].data(), grads_[i], outs_[i], half_, half_});
    }
    std::vector<const esp_range*> list;
    for (const esp_range& range : ranges) list.push_back(&range);
    service.apply(list, stream);
  }
  std::vector<float> masters(size_t i) {
    std::vector<float> values(kParams[i].numel);
    device_.kernels().copy(device_.compute(), values.data(), masters_[i], values.size() * 4);
    device_.sync(device_.compute());
    return values;
  }

 private:
  Device& device_;
  Arena arena_;
  esp_dtype half_;
  std::vector<float*> masters_;
  std::vector<void*> grads_, outs_;
  std::vector<std::vector<void*>> slots_;

 public:
  UpdateService service;
};

class UpdateRig : public GpuRig {
 protected:
  void TearDown() override {
    GpuRig::TearDown();
    on_gpu_.reset();
    on_cpu_.reset();
  }
  void start(const UpdateConfig& config, esp_dtype half, uint32_t place = ESP_DEVICE) {
    on_cpu_ = std::make_unique<UpdateHalf>(*cpu_, config, half, ESP_DEVICE);
    on_gpu_ = std::make_unique<UpdateHalf>(*gpu_, config, half, place);
    const auto weights = values(1);
    on_cpu_->put(weights, false);
    on_gpu_->put(weights, false);
  }
  std::vector<std::vector<float>> values(float scale) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<std::vector<float>> all;
    for (const UpdateParam& param : kParams) {
      all.emplace_back(param.numel);
      for (float& value : all.back()) value = normal(engine_);
    }
    return all;
  }
  // New gradients on both; one of them not finite where asked for.
  void new_gradients(bool bad = false) {
    auto all = values(1);
    if (bad) all[1][3] = INFINITY;
    on_cpu_->put(all, true);
    on_gpu_->put(all, true);
  }
  // Without clipping or scaling the update may come first: then the gradients are read once for both.
  static void enqueue(UpdateHalf& half, Stream& norm, Stream& update, bool update_first = false) {
    half.add_norms(norm);
    if (update_first) half.apply(update);
    half.service.norm_finish(nullptr, norm);
    if (!update_first) half.apply(update);
  }
  static std::vector<double> rates(uint64_t step) { return {1e-2 / static_cast<double>(step + 1), 3e-3}; }

  void step_on_cpu(uint64_t step) {
    Stream& stream = cpu_->compute();
    on_cpu_->service.begin_step(step, rates(step), 8);
    enqueue(*on_cpu_, stream, stream);
    on_cpu_->service.end_step();
  }

  // The numbers of a step may differ in the last bits of a double, so a weight now and then in the last bit of a float.
  void expect_same_results(uint64_t step) {
    const UpdateResult want = on_cpu_->service.result(step), have = on_gpu_->service.result(step);
    EXPECT_EQ(have.applied_steps, want.applied_steps);
    EXPECT_EQ(have.skipped, want.skipped);
    EXPECT_EQ(have.found_inf, want.found_inf);
    EXPECT_EQ(have.loss_scale, want.loss_scale);
    if (want.found_inf) return;
    EXPECT_NEAR(have.grad_norm, want.grad_norm, want.grad_norm * 1e-12);
  }
  void expect_same_weights() {
    for (size_t i = 0; i < kParams.size(); ++i) {
      const auto want = on_cpu_->masters(i), have = on_gpu_->masters(i);
      for (size_t j = 0; j < want.size(); ++j) {
        ASSERT_NEAR(have[j], want[j], 2e-7 * std::max(1.0f, std::abs(want[j]))) << "element " << j << " of " << i;
      }
    }
  }

  std::unique_ptr<UpdateHalf> on_cpu_, on_gpu_;
};

}  // namespace esp::runtime::test
