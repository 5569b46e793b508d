// Exposed communication on the GPU's clock, in steps that are enqueued and in graphs.
#include "runtime/comm/stall_meter.hpp"

#include "gpu_rig.hpp"
#include "runtime/comm/metered_communicator.hpp"
#include "slow_communicator.hpp"

namespace esp::runtime::test {
namespace {

constexpr std::chrono::milliseconds kDelay{50};
constexpr double kDelaySeconds = 0.05;

class StallsOfAGpu : public GpuRig {
 protected:
  void SetUp() override {
    GpuRig::SetUp();
    if (gpu_ == nullptr) return;
    meter_ = std::make_unique<StallMeter>(*gpu_);
    comm_ = std::make_unique<MeteredCommunicator>(std::make_unique<SlowCommunicator>(*gpu_, kDelay), *meter_);
    side_ = gpu_->create_stream(ESP_STREAM_DEVICE, 0, "side");
    forked_ = gpu_->create_event();
    reduced_ = gpu_->create_event();
    data_ = make<float>(2);
    meter_->turn(true);
  }

  // busy: compute has something to do until the collective is done, and comes to its wait then.
  void enqueue_step(bool busy) {
    gpu_->record(*forked_, compute());
    gpu_->wait(*side_, *forked_);
    comm_->all_reduce(data_, data_, 2, ESP_F32, ESP_SUM, *side_);
    gpu_->record(*reduced_, *side_);
    if (busy) gpu_->wait(compute(), *reduced_);
    meter_->around(compute(), StallMeter::Kind::kWait, [&] { gpu_->wait(compute(), *reduced_); });
  }
  double seconds(const StallMeter::Spans& spans) {
    gpu_->sync(compute());
    return exposed_seconds(spans);
  }
  void expect(double exposed, bool busy) {
    if (busy) {
      EXPECT_LT(exposed, kDelaySeconds / 10);
    } else {
      EXPECT_GT(exposed, kDelaySeconds / 2);
      EXPECT_LT(exposed, kDelaySeconds * 4);
    }
  }

  std::unique_ptr<StallMeter> meter_;
  std::unique_ptr<MeteredCommunicator> comm_;
  std::unique_ptr<Stream> side_;
  std::unique_ptr<Event> forked_, reduced_;
  float* data_ = nullptr;
};

TEST_F(StallsOfAGpu, AreMeasuredInAStepThatIsEnqueued) {
  for (const bool busy : {false, true}) {
    enqueue_step(busy);
    expect(seconds(meter_->take()), busy);
  }
}

TEST_F(StallsOfAGpu, AreMeasuredAtEveryLaunchOfAGraph) {
  for (const bool busy : {false, true}) {
    gpu_->begin_capture();
    enqueue_step(busy);
    const auto graph = gpu_->end_capture();
    const StallMeter::Spans spans = meter_->take();
    double before = 0;
    for (int launch = 0; launch < 3; ++launch) {
      gpu_->launch(*graph);
      expect(seconds(spans), busy);
      EXPECT_GT(spans.front().end->seconds(), before) << "marks are those of the launch before";
      before = spans.front().end->seconds();
    }
  }
}

}  // namespace
}  // namespace esp::runtime::test
