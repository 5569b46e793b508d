// Exposed communication, with a communicator that takes a known time.
#include "runtime/comm/stall_meter.hpp"

#include <chrono>
#include <thread>

#include "rig.hpp"
#include "runtime/comm/metered_communicator.hpp"
#include "runtime/services/host_services.hpp"
#include "slow_communicator.hpp"

namespace esp::runtime::test {
namespace {

using Kind = StallMeter::Kind;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kDelay{30};
constexpr double kDelaySeconds = 0.03;
constexpr std::chrono::milliseconds kLongDelay{200};
constexpr double kLongDelaySeconds = 0.2;

class Exposed : public Rig {
 protected:
  void reduce(Stream& stream) { comm_.all_reduce(data_.data(), data_.data(), data_.size(), ESP_F32, ESP_SUM, stream); }
  void wait_for(Stream& stream) {
    device_->record(*event_, stream);
    meter_.around(compute(), Kind::kWait, [&] { device_->wait(compute(), *event_); });
  }
  double seconds() {
    sync();
    return exposed_seconds(meter_.take());
  }

  StallMeter meter_{*device_};
  MeteredCommunicator comm_{std::make_unique<SlowCommunicator>(*device_, kDelay), meter_};
  std::unique_ptr<Stream> side_ = device_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  std::unique_ptr<Event> event_ = device_->create_event();
  std::span<float> data_ = array(std::vector<float>{1, 2});
};

TEST_F(Exposed, IsAllOfACollectiveThatComputeWaitsFor) {
  meter_.turn(true);
  const auto begin = Clock::now();
  Gate compute_waits;
  device_->enqueue(*side_, [&] { compute_waits.pass(); });
  reduce(*side_);
  device_->record(*event_, *side_);
  meter_.around(compute(), Kind::kWait, [&] {
    device_->enqueue(compute(), [&] { compute_waits.open(); });
    device_->wait(compute(), *event_);
  });
  const double exposed = seconds();
  EXPECT_GE(exposed, kDelaySeconds);
  EXPECT_LE(exposed, std::chrono::duration<double>(Clock::now() - begin).count());
}

TEST_F(Exposed, IsNothingWhereComputeIsBusyForLonger) {
  meter_.turn(true);
  reduce(*side_);
  device_->record(*event_, *side_);
  device_->wait(compute(), *event_);  // not timed: stands for work that outlasts the collective
  wait_for(*side_);
  EXPECT_EQ(seconds(), 0);
}

TEST_F(Exposed, IsNothingWhereComputeWaitsForOtherWork) {
  meter_.turn(true);
  device_->enqueue(*side_, [] { std::this_thread::sleep_for(kDelay); });
  wait_for(*side_);
  device_->record(*event_, compute());
  device_->wait(*side_, *event_);
  reduce(*side_);  // nobody waits for it
  EXPECT_EQ(seconds(), 0);
}

TEST_F(Exposed, IsAllOfACollectiveOnTheComputeStream) {
  meter_.turn(true);
  reduce(compute());
  reduce(compute());
  EXPECT_GE(seconds(), 2 * kDelaySeconds);
}

TEST_F(Exposed, CountsCollectivesOfSubsets) {
  meter_.turn(true);
  const int32_t both[] = {0, 1};
  const auto part = comm_.subset(both);
  part->all_gather(data_.data(), data_.data() + 1, 1, ESP_F32, compute());
  part->reduce_scatter(data_.data(), data_.data(), 1, ESP_F32, ESP_SUM, compute());
  EXPECT_GE(seconds(), 2 * kDelaySeconds);
}

TEST_F(Exposed, IsNotMeasuredWhileTheMeterIsOff) {
  reduce(compute());
  wait_for(*side_);
  sync();
  EXPECT_TRUE(meter_.take().empty());
}

// A strategy's step, through its tables: reduce on a side stream, and the host joins.
TEST_F(Exposed, SeesTheWaitsOfStrategiesAndTheJoinOfTheirStreams) {
  ServiceOptions options;
  options.stalls = &meter_;
  MeteredCommunicator slower(std::make_unique<SlowCommunicator>(*device_, kLongDelay), meter_);
  HostServices services(*device_, &slower, options);
  void* ctx = services.host()->ctx;
  const auto* device = static_cast<const esp_device_v1*>(services.host()->service(ctx, ESP_DEVICE_ID));
  const auto* memory = static_cast<const esp_memory_v1*>(services.host()->service(ctx, ESP_MEMORY_ID));
  const auto* comm = static_cast<const esp_comm_v1*>(services.host()->service(ctx, ESP_COMM_ID));
  esp_stream side = nullptr;
  esp_event event = nullptr;
  esp_comm all = nullptr;
  void* gradients = nullptr;
  ASSERT_EQ(device->stream_create(ctx, ESP_STREAM_DEVICE, 0, &side, nullptr), ESP_OK);
  ASSERT_EQ(device->event_create(ctx, &event, nullptr), ESP_OK);
  ASSERT_EQ(memory->alloc(ctx, ESP_DEVICE, sizeof(float), ESP_TAG_GRAD, 0, &gradients, nullptr), ESP_OK);
  ASSERT_EQ(comm->data(ctx, &all, nullptr, nullptr), ESP_OK);
  const auto step = [&](bool waits) {
    services.fork(StepKind::kTrain);
    EXPECT_EQ(comm->all_reduce(ctx, all, gradients, gradients, 1, ESP_F32, ESP_SUM, side, nullptr), ESP_OK);
    EXPECT_EQ(device->record(ctx, event, side, nullptr), ESP_OK);
    if (waits) {
      EXPECT_EQ(device->wait(ctx, device->compute(ctx), event, nullptr), ESP_OK);
    }
    services.join();
    return seconds();
  };
  step(true);
  meter_.turn(true);
  // Compute may come to its wait later than the side stream to the collective: most of the long delay is exposed.
  EXPECT_GT(step(true), kLongDelaySeconds / 2);
  EXPECT_GT(step(false), kLongDelaySeconds / 2);
}

TEST(Overlap, CountsWhatBothHaveInCommonOnce) {
  EXPECT_EQ(overlap({}, {}), 0);
  EXPECT_EQ(overlap({{0, 4}}, {}), 0);
  EXPECT_EQ(overlap({{0, 4}}, {{4, 6}}), 0);
  EXPECT_EQ(overlap({{0, 4}}, {{1, 2}}), 1);
  EXPECT_EQ(overlap({{3, 5}, {0, 4}}, {{1, 2}, {1, 3}, {4.5, 9}}), 2.5);
  EXPECT_EQ(overlap({{0, 1}, {2, 3}, {4, 5}}, {{0.5, 4.5}}), 2);
}

}  // namespace
}  // namespace esp::runtime::test
