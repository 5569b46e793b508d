#include <dlfcn.h>

#include "gpu_rig.hpp"

namespace esp::runtime::test {
namespace {

class StreamsOfAGpu : public GpuRig {
 protected:
  void SetUp() override {
    GpuRig::SetUp();
    if (gpu_ == nullptr) return;
    seven_ = make<float>(1, ESP_PINNED);
    *seven_ = 7;
    move(compute(), seven_, make<float>(1));  // a kernel's first launch may wait for every stream: not behind a gate
    sync();
  }
  // By a kernel: the driver makes a copy between two places of the host wait for the stream.
  void move(Stream& on, const float* from, float* to) {
    kernels().axpby(on, 1, 1, nullptr, from, ESP_F32, 0, nullptr, to, ESP_F32);
  }
  // As the driver has it.
  static int priority(const Stream& stream) {
    using Ask = int (*)(const void* stream, int* priority);
    const auto ask = reinterpret_cast<Ask>(dlsym(RTLD_DEFAULT, "cudaStreamGetPriority"));
    int priority = 0;
    EXPECT_NE(ask, nullptr);
    EXPECT_EQ(ask(stream.handle(), &priority), 0);
    return priority;
  }
  std::unique_ptr<Stream> stream(uint32_t kind = ESP_STREAM_DEVICE, int32_t priority = 0) {
    return gpu_->create_stream(kind, priority, "side");
  }
  // 7 arrives at `target` on the stream once the gate opens.
  void write_late(Stream& on, Gate& gate, float* target) {
    gpu_->enqueue(on, [&gate] { gate.pass(); });
    move(on, seven_, target);
  }
  float* seven_ = nullptr;
};

TEST_F(StreamsOfAGpu, ComputeIsTheFirst) {
  EXPECT_EQ(gpu_->kind(), ESP_CUDA);
  EXPECT_EQ(compute().index(), 0u);
  EXPECT_EQ(compute().kind(), static_cast<uint32_t>(ESP_STREAM_DEVICE));
  EXPECT_FALSE(gpu_->name().empty());
  EXPECT_TRUE(gpu_->captures());
}

TEST_F(StreamsOfAGpu, PrioritiesStandOnBothSidesOfComputeAndAreCut) {
  const auto urgent = stream(ESP_STREAM_DEVICE, -1000), late = stream(ESP_STREAM_DEVICE, 1000);
  EXPECT_LT(priority(*urgent), priority(compute()));
  EXPECT_LT(priority(compute()), priority(*late));
}

TEST_F(StreamsOfAGpu, RunHostFunctionsInOrder) {
  std::vector<int> seen;
  for (int i = 0; i < 100; ++i) gpu_->enqueue(compute(), [&seen, i] { seen.push_back(i); });
  sync();
  ASSERT_EQ(seen.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], i);
}

// All pairs of kinds: who writes, and who waits and reads.
TEST_F(StreamsOfAGpu, AWaitSeesWhatWasBeforeTheRecordOnAnyKindOfStream) {
  for (uint32_t writer_kind : {ESP_STREAM_DEVICE, ESP_STREAM_CPU}) {
    for (uint32_t reader_kind : {ESP_STREAM_DEVICE, ESP_STREAM_CPU}) {
      auto writer = stream(writer_kind), reader = stream(reader_kind);
      auto event = gpu_->create_event();
      float* written = make<float>(1, ESP_PINNED);
      float* seen = make<float>(1, ESP_PINNED);
      Gate gate;
      write_late(*writer, gate, written);
      gpu_->record(*event, *writer);
      gpu_->wait(*reader, *event);
      move(*reader, written, seen);
      open_late(gate);
      gpu_->sync(*reader);
      EXPECT_EQ(*seen, 7) << writer_kind << " to " << reader_kind;
    }
  }
}

TEST_F(StreamsOfAGpu, AChainOverBothKindsIsOrdered) {
  auto queue = stream(ESP_STREAM_CPU), side = stream();
  auto there = gpu_->create_event(), back = gpu_->create_event();
  float* on_gpu = make<float>(1);
  float* pinned = make<float>(1, ESP_PINNED);
  Gate gate;
  write_late(*side, gate, on_gpu);
  kernels().copy(*side, pinned, on_gpu, sizeof(float));
  gpu_->record(*there, *side);
  gpu_->wait(*queue, *there);
  gpu_->enqueue(*queue, [&] { *pinned *= 5; });
  gpu_->record(*back, *queue);
  gpu_->wait(compute(), *back);
  kernels().axpby(compute(), 1, 2, nullptr, pinned, ESP_F32, 0, nullptr, on_gpu, ESP_F32);
  open_late(gate);
  sync();
  EXPECT_EQ(read(on_gpu, 1)[0], 70);
}

TEST_F(StreamsOfAGpu, AWaitMeansTheMostRecentRecordAsOfTheCall) {
  for (uint32_t kind : {ESP_STREAM_DEVICE, ESP_STREAM_CPU}) {
    auto recorder = stream(kind), side = stream();
    auto event = gpu_->create_event();
    Gate late;
    gpu_->record(*event, *recorder);
    gpu_->wait(*side, *event);
    gpu_->enqueue(*recorder, [&] { late.pass(); });
    gpu_->record(*event, *recorder);
    gpu_->sync(*side);  // comes back only when the later record does not hold it up
    late.open();
    gpu_->sync(*recorder);
  }
}

TEST_F(StreamsOfAGpu, AnEventRecordedOnAnotherKindStandsForThat) {
  auto first = stream(), queue = stream(ESP_STREAM_CPU);
  auto event = gpu_->create_event();
  Gate stuck;
  gpu_->enqueue(*queue, [&] { stuck.pass(); });
  gpu_->record(*event, *queue);
  gpu_->record(*event, *first);
  gpu_->wait(compute(), *event);
  sync();  // though the queue is stuck
  stuck.open();
  gpu_->sync(*queue);
}

TEST_F(StreamsOfAGpu, TheEndOfAnEarlierRecordDoesNotSatisfyALaterOne) {
  for (uint32_t kind : {ESP_STREAM_DEVICE, ESP_STREAM_CPU}) {
    auto writer = stream(kind);
    auto event = gpu_->create_event();
    float* written = make<float>(1, ESP_PINNED);
    float* seen = make<float>(1);
    gpu_->record(*event, *writer);
    gpu_->sync(*writer);
    Gate gate;
    write_late(*writer, gate, written);
    gpu_->record(*event, *writer);
    gpu_->wait(compute(), *event);
    move(compute(), written, seen);
    open_late(gate);
    EXPECT_EQ(read(seen, 1)[0], 7) << kind;
  }
}

TEST_F(StreamsOfAGpu, WaitingForAnEventThatWasNeverRecordedDoesNothing) {
  auto event = gpu_->create_event();
  auto queue = stream(ESP_STREAM_CPU);
  gpu_->wait(compute(), *event);
  gpu_->wait(*queue, *event);
  gpu_->synchronize(*event);
  gpu_->sync(*queue);
  sync();
}

TEST_F(StreamsOfAGpu, TheHostWaitsForAnEvent) {
  Gate gate;
  float* written = make<float>(1, ESP_PINNED);
  auto event = gpu_->create_event();
  write_late(compute(), gate, written);
  gpu_->record(*event, compute());
  EXPECT_EQ(*written, 0);
  gate.open();
  gpu_->synchronize(*event);
  EXPECT_EQ(*written, 7);
}

TEST_F(StreamsOfAGpu, AFailureOnAnyKindOfStreamIsStickyAndDropsWhatFollows) {
  for (uint32_t kind : {ESP_STREAM_DEVICE, ESP_STREAM_CPU}) {
    auto device = cuda().make_device(0, 1);
    auto failing = device->create_stream(kind, 0, "failing"), other = device->create_stream(ESP_STREAM_CPU, 0, "other");
    auto event = device->create_event();
    Gate gate;
    bool ran = false;
    device->enqueue(*failing, [&] {
      gate.pass();
      throw Error(ExitCode::kNumeric, "first");
    });
    device->enqueue(*failing, [&] { ran = true; });
    device->record(*event, *failing);
    device->wait(*other, *event);
    device->enqueue(*other, [&] { ran = true; });
    gate.open();
    device->synchronize(*event);
    device->drain();
    EXPECT_FALSE(ran);
    device->fail(std::make_exception_ptr(Error(ExitCode::kInternal, "second")));
    EXPECT_EQ(caught([&] { device->sync(device->compute()); }).text, "first");
    EXPECT_EQ(caught([&] { device->enqueue(device->compute(), [] {}); }).code, ExitCode::kNumeric);
  }
}

TEST_F(StreamsOfAGpu, IndicesAreReusedAndBounded) {
  std::vector<std::unique_ptr<Stream>> streams;
  for (uint32_t i = 1; i < 20; ++i) {
    streams.push_back(stream(i % 2 == 0 ? ESP_STREAM_CPU : ESP_STREAM_DEVICE));
    EXPECT_EQ(streams.back()->index(), i);
  }
  streams[4].reset();
  EXPECT_EQ(stream()->index(), 5u);
  EXPECT_EQ(caught([&] { gpu_->create_stream(9, 0, "s"); }).code, ExitCode::kPlugin);
}

TEST_F(StreamsOfAGpu, AStreamOfTheCpuThatTakesThePlaceOfAnotherStartsAnew) {
  for (int turn = 0; turn < 3; ++turn) {
    auto queue = stream(ESP_STREAM_CPU);
    auto event = gpu_->create_event();
    float* written = make<float>(1, ESP_PINNED);
    float* seen = make<float>(1);
    Gate gate;
    write_late(*queue, gate, written);
    gpu_->record(*event, *queue);
    gpu_->wait(compute(), *event);
    move(compute(), written, seen);
    open_late(gate);
    EXPECT_EQ(read(seen, 1)[0], 7) << turn;
  }
}

TEST_F(StreamsOfAGpu, MarksMeasureWhatLiesBetween) {
  auto before = gpu_->mark(compute());
  gpu_->enqueue(compute(), [] { std::this_thread::sleep_for(std::chrono::milliseconds(30)); });
  auto after = gpu_->mark(compute());
  EXPECT_GE(after->seconds() - before->seconds(), 0.029);
  EXPECT_LT(after->seconds() - before->seconds(), 5);
}

}  // namespace
}  // namespace esp::runtime::test
