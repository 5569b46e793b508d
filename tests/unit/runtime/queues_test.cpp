#include <stdexcept>
#include <thread>

#include "rig.hpp"

namespace esp::runtime::test {
namespace {

using Queues = Rig;

TEST_F(Queues, RunItemsInOrder) {
  std::vector<int> seen;
  for (int i = 0; i < 5000; ++i) device_->enqueue(compute(), [&seen, i] { seen.push_back(i); });
  sync();
  ASSERT_EQ(seen.size(), 5000u);
  for (int i = 0; i < 5000; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], i);
}

TEST_F(Queues, DoNotBlockWhoEnqueues) {
  Gate gate;
  bool ran = false;
  device_->enqueue(compute(), [&] { gate.pass(); });
  device_->enqueue(compute(), [&] { ran = true; });
  gate.open();  // reached only because the two calls above came back
  sync();
  EXPECT_TRUE(ran);
}

TEST_F(Queues, AWaitSeesWhatWasBeforeTheRecord) {
  auto side = device_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  auto event = device_->create_event();
  Gate gate;
  int value = 0, seen = -1;
  device_->enqueue(compute(), [&] {
    gate.pass();
    value = 7;
  });
  device_->record(*event, compute());
  device_->wait(*side, *event);
  device_->enqueue(*side, [&] { seen = value; });
  gate.open();
  device_->sync(*side);
  EXPECT_EQ(seen, 7);
}

TEST_F(Queues, AWaitMeansTheMostRecentRecordAsOfTheCall) {
  auto side = device_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  auto event = device_->create_event();
  Gate late;
  bool ran = false;
  device_->record(*event, compute());
  device_->wait(*side, *event);
  device_->enqueue(compute(), [&] { late.pass(); });
  device_->record(*event, compute());  // later: does not hold up the wait above
  device_->enqueue(*side, [&] { ran = true; });
  device_->sync(*side);
  EXPECT_TRUE(ran);
  late.open();
}

TEST_F(Queues, AnEventRecordedOnTwoStreamsStandsForTheSecond) {
  auto first = device_->create_stream(ESP_STREAM_DEVICE, 0, "first");
  auto second = device_->create_stream(ESP_STREAM_CPU, 0, "second");
  auto event = device_->create_event();
  Gate stuck, slow;
  int value = 0, seen = -1;
  device_->enqueue(*first, [&] { stuck.pass(); });
  device_->record(*event, *first);
  device_->enqueue(*second, [&] {
    slow.pass();
    value = 3;
  });
  device_->record(*event, *second);
  device_->wait(compute(), *event);
  device_->enqueue(compute(), [&] { seen = value; });
  slow.open();
  sync();  // though `first` is stuck
  EXPECT_EQ(seen, 3);
  stuck.open();
}

TEST_F(Queues, TheEndOfAnEarlierRecordDoesNotSatisfyALaterOne) {
  auto side = device_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  auto event = device_->create_event();
  device_->record(*event, compute());
  sync();
  Gate gate;
  int value = 0, seen = -1;
  device_->enqueue(compute(), [&] {
    gate.pass();
    value = 4;
  });
  device_->record(*event, compute());
  device_->wait(*side, *event);
  device_->enqueue(*side, [&] { seen = value; });
  std::thread opener([&] { gate.open(); });
  device_->sync(*side);
  opener.join();
  EXPECT_EQ(seen, 4);
}

TEST_F(Queues, WaitingForAnEventThatWasNeverRecordedDoesNothing) {
  auto event = device_->create_event();
  device_->wait(compute(), *event);
  device_->synchronize(*event);
  sync();
}

TEST_F(Queues, TheFirstFailureIsStickyAndDropsWhatFollows) {
  bool ran = false;
  device_->enqueue(compute(), [] { throw Error(ExitCode::kNumeric, "first"); });
  device_->drain();
  EXPECT_EQ(caught([&] { device_->enqueue(compute(), [&] { ran = true; }); }).text, "first");
  device_->fail(std::make_exception_ptr(Error(ExitCode::kInternal, "second")));
  EXPECT_EQ(caught([&] { sync(); }).text, "first");
  EXPECT_EQ(caught([&] { device_->check(); }).code, ExitCode::kNumeric);
  EXPECT_FALSE(ran);
}

TEST_F(Queues, EventsCompleteAfterAFailureSoThatNobodyHangs) {
  auto side = device_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  auto event = device_->create_event();
  Gate gate;
  bool ran = false;
  device_->enqueue(compute(), [&] {
    gate.pass();
    throw Error(ExitCode::kInternal, "broken");
  });
  device_->enqueue(compute(), [&] { ran = true; });
  device_->record(*event, compute());
  device_->wait(*side, *event);
  device_->enqueue(*side, [&] { ran = true; });
  gate.open();
  device_->synchronize(*event);
  device_->drain();
  EXPECT_FALSE(ran);
}

TEST_F(Queues, DestructionDrains) {
  Gate gate;
  int done = 0;
  {
    auto side = device_->create_stream(ESP_STREAM_CPU, 0, "side");
    device_->enqueue(*side, [&] { gate.pass(); });
    for (int i = 0; i < 100; ++i) device_->enqueue(*side, [&] { ++done; });
    gate.open();
  }
  EXPECT_EQ(done, 100);
}

TEST_F(Queues, IndicesAreReusedAndBounded) {
  std::vector<std::unique_ptr<Stream>> streams;
  for (uint32_t i = 1; i < kMaxStreams; ++i) {
    streams.push_back(device_->create_stream(ESP_STREAM_CPU, 0, "s"));
    EXPECT_EQ(streams.back()->index(), i);
  }
  EXPECT_EQ(caught([&] { device_->create_stream(ESP_STREAM_CPU, 0, "s"); }).code, ExitCode::kResource);
  streams[4].reset();
  EXPECT_EQ(device_->create_stream(ESP_STREAM_CPU, 0, "s")->index(), 5u);
}

TEST_F(Queues, MarksAreTakenWhenTheStreamGetsThere) {
  Gate gate;
  auto before = device_->mark(compute());
  device_->enqueue(compute(), [&] { gate.pass(); });
  auto after = device_->mark(compute());
  const double reached = before->seconds();  // does not wait for the gate
  const auto opened = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  gate.open();
  EXPECT_LE(reached, opened);
  EXPECT_GE(after->seconds(), opened);
}

}  // namespace
}  // namespace esp::runtime::test
