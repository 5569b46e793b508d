// Capture and replay: addresses stay, what changes lies in device memory.
#include "update_rig.hpp"

namespace esp::runtime::test {
namespace {

class GraphsOfAGpu : public UpdateRig {
 protected:
  // Norm on compute, update on a side stream; or both on the side stream, the update first.
  void enqueue_step(Stream& side, bool update_first) {
    auto forked = gpu_->create_event(), joined = gpu_->create_event();
    gpu_->record(*forked, compute());
    gpu_->wait(side, *forked);
    enqueue(*on_gpu_, update_first ? side : compute(), side, update_first);
    gpu_->record(*joined, side);
    gpu_->wait(compute(), *joined);
  }
  // Eight steps on both devices, step 4 with an overflow if asked for; those before `captured` are eager.
  void train(bool overflow, bool update_first, uint64_t captured) {
    auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 100, "update");
    std::unique_ptr<Graph> graph;
    for (uint64_t index = 0; index < 8; ++index) {
      new_gradients(overflow && index == 4);
      step_on_cpu(index);
      on_gpu_->service.begin_step(index, rates(index), 8);
      if (index < captured) {
        enqueue_step(*side, update_first);
      } else if (index == captured) {
        gpu_->begin_capture();
        enqueue_step(*side, update_first);
        graph = gpu_->end_capture();
      }
      if (graph != nullptr) {
        gpu_->launch(*graph);
        on_gpu_->service.replayed();
      }
      on_gpu_->service.end_step();
      expect_same_results(index);
    }
    expect_same_weights();
    gpu_->drain();
  }
};

TEST_F(GraphsOfAGpu, AReplayedStepFollowsTheNumbersThatChange) {
  UpdateConfig config = config_of(OptimizerKind::kAdamW);
  config.fp16 = true;
  config.clip_norm = 0.5;
  config.scaler = {16, 1, 2, 1};
  start(config, ESP_F16);
  train(/*overflow=*/true, /*update_first=*/false, /*captured=*/1);
  EXPECT_EQ(on_gpu_->service.state().skipped_steps, 1u);
}

TEST_F(GraphsOfAGpu, AReplayedStepThatReadsGradientsOnceFollowsThemToo) {
  for (uint64_t captured : {0, 1}) {  // scratch memory was made by an eager step, or cannot be had
    start(config_of(OptimizerKind::kAdamW), ESP_BF16);
    train(/*overflow=*/false, /*update_first=*/true, captured);
  }
}

TEST_F(GraphsOfAGpu, WhatIsCapturedDoesNotRunBeforeTheLaunch) {
  float* value = make<float>(1);
  set(value, {2});
  gpu_->begin_capture();
  kernels().axpby(compute(), 1, 3, nullptr, value, ESP_F32, 0, nullptr, value, ESP_F32);
  const auto graph = gpu_->end_capture();
  EXPECT_EQ(read(value, 1)[0], 2);
  for (int i = 0; i < 3; ++i) gpu_->launch(*graph);
  EXPECT_EQ(read(value, 1)[0], 54);
}

TEST_F(GraphsOfAGpu, AFactorInDeviceMemoryIsReadAtEveryLaunch) {
  float* factor = make<float>(1);
  float* x = make<float>(1);
  float* y = make<float>(1);
  set(x, {5});
  gpu_->begin_capture();
  kernels().axpby(compute(), 1, 1, factor, x, ESP_F32, 0, nullptr, y, ESP_F32);
  const auto graph = gpu_->end_capture();
  for (float value : {2.0f, 7.0f}) {
    set(factor, {value});
    gpu_->launch(*graph);
    EXPECT_EQ(read(y, 1)[0], 5 * value);
  }
}

TEST_F(GraphsOfAGpu, HostFunctionsRunAtEveryLaunch) {
  int ran = 0;
  gpu_->begin_capture();
  gpu_->enqueue(compute(), [&] { ++ran; });
  const auto graph = gpu_->end_capture();
  sync();
  EXPECT_EQ(ran, 0);
  for (int i = 0; i < 3; ++i) gpu_->launch(*graph);
  sync();
  EXPECT_EQ(ran, 3);
}

TEST_F(GraphsOfAGpu, ADelayedSideStreamChangesNothing) {
  const uint64_t n = 100003;
  float* x = make<float>(n);
  float* y = make<float>(n);
  auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  const auto capture = [&](bool delay_side, bool delay_compute) {
    const auto nap = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
    auto forked = gpu_->create_event(), joined = gpu_->create_event();
    gpu_->begin_capture();
    if (delay_compute) gpu_->enqueue(compute(), nap);
    kernels().axpby(compute(), n, 0.999f, nullptr, x, ESP_F32, 0, nullptr, x, ESP_F32);
    gpu_->record(*forked, compute());
    gpu_->wait(*side, *forked);
    if (delay_side) gpu_->enqueue(*side, nap);
    kernels().axpby(*side, n, 1, nullptr, x, ESP_F32, 0.5f, nullptr, y, ESP_F32);
    gpu_->record(*joined, *side);
    gpu_->wait(compute(), *joined);
    kernels().axpby(compute(), n, 0.1f, nullptr, y, ESP_F32, 1, nullptr, x, ESP_F32);
    return gpu_->end_capture();
  };
  const auto run = [&](bool delay_side, bool delay_compute) {
    set(x, std::vector<float>(n, 1.0f));
    set(y, std::vector<float>(n, 2.0f));
    const auto graph = capture(delay_side, delay_compute);
    for (int i = 0; i < 4; ++i) gpu_->launch(*graph);
    return read(x, n);
  };
  const auto want = run(false, false);
  EXPECT_NE(want[0], 1.0f);
  EXPECT_EQ(run(true, false), want);
  EXPECT_EQ(run(false, true), want);
}

TEST_F(GraphsOfAGpu, StreamsOfTheCpuCannotTakePart) {
  auto queue = gpu_->create_stream(ESP_STREAM_CPU, 0, "queue");
  auto event = gpu_->create_event();
  gpu_->begin_capture();
  EXPECT_EQ(caught([&] { gpu_->enqueue(*queue, [] {}); }).code, ExitCode::kPlugin);
  EXPECT_EQ(caught([&] { gpu_->record(*event, *queue); }).code, ExitCode::kPlugin);
  gpu_->abandon_capture();
  gpu_->record(*event, *queue);
  gpu_->wait(compute(), *event);
  sync();
}

TEST_F(GraphsOfAGpu, ACaptureThatIsNotJoinedFailsAndTheNextOneSucceeds) {
  auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  float* value = make<float>(1);
  set(value, {2});
  auto event = gpu_->create_event();
  gpu_->begin_capture();
  gpu_->record(*event, compute());
  gpu_->wait(*side, *event);
  kernels().axpby(*side, 1, 3, nullptr, value, ESP_F32, 0, nullptr, value, ESP_F32);
  EXPECT_NE(caught([&] { gpu_->end_capture(); }).code, ExitCode::kOk);
  gpu_->begin_capture();
  kernels().axpby(compute(), 1, 3, nullptr, value, ESP_F32, 0, nullptr, value, ESP_F32);
  const auto graph = gpu_->end_capture();
  gpu_->launch(*graph);
  EXPECT_EQ(read(value, 1)[0], 6);
}

TEST_F(GraphsOfAGpu, AnAbandonedCaptureLeavesNothingBehind) {
  float* value = make<float>(1);
  set(value, {2});
  gpu_->begin_capture();
  kernels().axpby(compute(), 1, 3, nullptr, value, ESP_F32, 0, nullptr, value, ESP_F32);
  gpu_->abandon_capture();
  EXPECT_EQ(read(value, 1)[0], 2);
}

TEST_F(GraphsOfAGpu, SumsOfACaptureAreZeroedForTheNextLaunch) {
  const Twin x = random(300001, ESP_F32);
  double* sum = make<double>(1);
  gpu_->begin_capture();
  kernels().zero(compute(), sum, sizeof(double));
  kernels().add_sum_sq(compute(), std::vector<NormPiece>{{x.gpu, 300001, ESP_F32}}, sum);
  const auto graph = gpu_->end_capture();
  gpu_->launch(*graph);
  const double first = read(sum, 1)[0];
  gpu_->launch(*graph);
  EXPECT_GT(first, 0);
  EXPECT_EQ(read(sum, 1)[0], first);
}

}  // namespace
}  // namespace esp::runtime::test
