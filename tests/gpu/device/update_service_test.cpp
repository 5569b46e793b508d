// Whole steps of esp.update on a GPU, its numbers in device memory, against the CPU device.
#include "update_rig.hpp"

namespace esp::runtime::test {
namespace {

class UpdateOnAGpu : public UpdateRig {
 protected:
  // on: the stream of the norm and of the update.
  void step(uint64_t index, Stream& on, bool update_first = false) {
    step_on_cpu(index);
    on_gpu_->service.begin_step(index, rates(index), 8);
    fork(on);
    enqueue(*on_gpu_, on, on, update_first);
    join(on);
    on_gpu_->service.end_step();
    expect_same_results(index);
  }
  void fork(Stream& side) {
    auto event = gpu_->create_event();
    gpu_->record(*event, compute());
    gpu_->wait(side, *event);
  }
  void join(Stream& side) {
    auto event = gpu_->create_event();
    gpu_->record(*event, side);
    gpu_->wait(compute(), *event);
  }
  void train(const UpdateConfig& config, esp_dtype half) {
    start(config, half);
    for (uint64_t index = 0; index < 6; ++index) {
      new_gradients(config.fp16 && index == 2);
      step(index, compute());
    }
    expect_same_weights();
  }
};

TEST_F(UpdateOnAGpu, AdamWTrainsAsOnTheCpu) {
  for (esp_dtype half : {ESP_F32, ESP_F16, ESP_BF16}) train(config_of(OptimizerKind::kAdamW), half);
}

TEST_F(UpdateOnAGpu, OneReadForNormAndUpdateGivesTheSameOnEveryKindOfStream) {
  for (uint32_t kind : {ESP_STREAM_DEVICE, ESP_STREAM_CPU}) {
    start(config_of(OptimizerKind::kAdamW), ESP_BF16, ESP_PINNED);
    auto side = gpu_->create_stream(kind, 0, "update");
    for (uint64_t index = 0; index < 4; ++index) {
      new_gradients();
      step(index, *side, /*update_first=*/true);
    }
    expect_same_weights();
    gpu_->drain();
    on_gpu_.reset();
  }
}

TEST_F(UpdateOnAGpu, SgdTrainsAsOnTheCpu) { train(config_of(OptimizerKind::kSgd), ESP_BF16); }

TEST_F(UpdateOnAGpu, ClippingTrainsAsOnTheCpu) {
  UpdateConfig config = config_of(OptimizerKind::kAdamW);
  config.clip_norm = 0.5;
  train(config, ESP_F32);
}

TEST_F(UpdateOnAGpu, TheScalerSkipsAndHalvesAsOnTheCpu) {
  UpdateConfig config = config_of(OptimizerKind::kAdamW);
  config.fp16 = true;
  config.clip_norm = 1;
  config.scaler = {16, 1, 2, 1};
  train(config, ESP_F16);
  EXPECT_EQ(on_gpu_->service.state().skipped_steps, 1u);
  EXPECT_EQ(on_gpu_->service.state().loss_scale, on_cpu_->service.state().loss_scale);
}

TEST_F(UpdateOnAGpu, ASideStreamOfLowPriorityGivesTheSame) {
  start(config_of(OptimizerKind::kAdamW), ESP_BF16);
  auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 100, "update");
  for (uint64_t index = 0; index < 4; ++index) {
    new_gradients();
    step(index, *side);
  }
  expect_same_weights();
}

TEST_F(UpdateOnAGpu, AQueueOfTheCpuOnPinnedMemoryGivesTheSame) {
  UpdateConfig config = config_of(OptimizerKind::kAdamW);
  config.fp16 = true;
  config.scaler = {16, 1, 2, 1};
  start(config, ESP_F16, ESP_PINNED);
  auto queue = gpu_->create_stream(ESP_STREAM_CPU, 0, "adam");
  for (uint64_t index = 0; index < 6; ++index) {
    new_gradients(index == 2);
    step(index, *queue);
  }
  expect_same_weights();
  EXPECT_EQ(on_gpu_->service.state().skipped_steps, 1u);
}

TEST_F(UpdateOnAGpu, PartsOfTheNormOfTheGpuAndOfTheCpuAddUp) {
  UpdateConfig config = config_of(OptimizerKind::kSgd);
  config.clip_norm = 0.5;
  start(config, ESP_F32, ESP_PINNED);
  auto queue = gpu_->create_stream(ESP_STREAM_CPU, 0, "adam");
  auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  float* ones = make<float>(4000, ESP_PINNED);
  std::fill(ones, ones + 4000, 1.0f);
  on_gpu_->service.begin_step(0, rates(0), 8);
  fork(*queue);
  fork(*side);
  on_gpu_->service.norm_add(ones, 1000, ESP_F32, *queue);
  on_gpu_->service.norm_add(ones + 1000, 1000, ESP_F32, *side);
  on_gpu_->service.norm_add(ones + 2000, 2000, ESP_F32, compute());
  on_gpu_->service.norm_finish(nullptr, compute());
  join(*queue);
  join(*side);
  on_gpu_->service.end_step();
  EXPECT_NEAR(on_gpu_->service.result(0).grad_norm, std::sqrt(4000.0), 1e-9);
}

TEST_F(UpdateOnAGpu, AnUpdateOnAnotherStreamWaitsForTheNorm) {
  UpdateConfig config = config_of(OptimizerKind::kSgd);
  config.clip_norm = 0.5;
  start(config, ESP_F32);
  new_gradients();
  step(0, compute());  // every kernel has been launched once: a first launch may wait for every stream
  auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  new_gradients();
  step_on_cpu(1);
  Gate gate;
  on_gpu_->service.begin_step(1, rates(1), 8);
  fork(*side);
  gpu_->enqueue(compute(), [&] { gate.pass(); });
  on_gpu_->add_norms(compute());
  on_gpu_->service.norm_finish(nullptr, compute());
  on_gpu_->apply(*side);
  open_late(gate);
  join(*side);
  on_gpu_->service.end_step();
  expect_same_results(1);
  expect_same_weights();
}

TEST_F(UpdateOnAGpu, WhatIsRestoredContinues) {
  UpdateConfig config = config_of(OptimizerKind::kSgd);
  config.fp16 = true;
  config.scaler = {16, 1, 3, 2};
  start(config, ESP_F32);
  on_gpu_->service.restore({41, 7, 64, 2, 1});
  on_cpu_->service.restore({41, 7, 64, 2, 1});
  new_gradients();
  step(0, compute());
  const UpdateState state = on_gpu_->service.state();
  EXPECT_EQ(state.applied_steps, 42u);
  EXPECT_EQ(state.loss_scale, 128.0f);
  EXPECT_EQ(state.skipped_steps, 7u);
}

}  // namespace
}  // namespace esp::runtime::test
