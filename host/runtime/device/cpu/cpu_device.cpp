#include "runtime/device/cpu/cpu_device.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <utility>

#include "error.hpp"
#include "runtime/device/cpu/completion.hpp"
#include "runtime/device/cpu/cpu_kernels.hpp"
#include "runtime/device/cpu/cpu_memory.hpp"
#include "runtime/device/cpu/parallel.hpp"

namespace esp::runtime {
namespace {

class CpuEvent final : public Event {
 public:
  std::shared_ptr<Completion> last;  // NULL: never recorded
};

class CpuTimeMark final : public TimeMark {
 public:
  struct Moment {
    Completion reached;
    std::chrono::steady_clock::time_point at;
  };
  explicit CpuTimeMark(std::shared_ptr<Moment> moment) : moment_(std::move(moment)) {}
  double seconds() override {
    moment_->reached.wait();
    return std::chrono::duration<double>(moment_->at.time_since_epoch()).count();
  }

 private:
  std::shared_ptr<Moment> moment_;
};

CpuStream& cpu(Stream& stream) { return static_cast<CpuStream&>(stream); }
CpuEvent& cpu(Event& event) { return static_cast<CpuEvent&>(event); }

}  // namespace

CpuDevice::CpuDevice(int32_t threads)
    : memory_(std::make_unique<CpuMemory>()), kernels_(std::make_unique<CpuKernels>(*this)) {
  threads = std::max(threads, 1);
  set_parallel_threads(threads);
  compute_ = make_stream(ESP_STREAM_DEVICE, threads, "compute");
}

CpuDevice::~CpuDevice() = default;

std::string CpuDevice::name() const {
  std::ifstream facts("/proc/cpuinfo");
  for (std::string line; std::getline(facts, line);) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

std::unique_ptr<Stream> CpuDevice::create_stream(uint32_t kind, int32_t /*priority: a hint*/, std::string name) {
  if (kind != ESP_STREAM_DEVICE && kind != ESP_STREAM_CPU) {
    throw Error(ExitCode::kPlugin, "stream kind " + std::to_string(kind) + " is neither ESP_STREAM_DEVICE nor _CPU");
  }
  return make_stream(kind, 1, std::move(name));
}

std::unique_ptr<CpuStream> CpuDevice::make_stream(uint32_t kind, int32_t threads, std::string name) {
  return streams_.add(name, [&](uint32_t index) {
    return std::make_unique<CpuStream>(StreamFacts{kind, index, threads, name}, failure_,
                                       [this](uint32_t gone) { streams_.remove(gone); });
  });
}

std::unique_ptr<Event> CpuDevice::create_event() { return std::make_unique<CpuEvent>(); }

void CpuDevice::record(Event& event, Stream& stream) {
  check();
  auto done = std::make_shared<Completion>();
  cpu(event).last = done;
  cpu(stream).push_always([done = std::move(done)] { done->signal(); });
}

void CpuDevice::wait(Stream& stream, Event& event) {
  check();
  if (cpu(event).last == nullptr) return;
  // Waits even after a failure: whoever owes the signal gives it, since signals are never dropped.
  cpu(stream).push_always([done = cpu(event).last] { done->wait(); });
}

void CpuDevice::synchronize(Event& event) {
  if (cpu(event).last != nullptr) cpu(event).last->wait();
}

void CpuDevice::enqueue(Stream& stream, std::function<void()> fn) {
  check();
  cpu(stream).push(std::move(fn));
}

void CpuDevice::sync(Stream& stream) {
  cpu(stream).wait_idle();
  check();
}

void CpuDevice::drain() noexcept {
  for (CpuStream* stream : streams_.all()) stream->wait_idle();
}

std::unique_ptr<TimeMark> CpuDevice::mark(Stream& stream) {
  auto moment = std::make_shared<CpuTimeMark::Moment>();
  cpu(stream).push_always([moment] {
    moment->at = std::chrono::steady_clock::now();
    moment->reached.signal();
  });
  return std::make_unique<CpuTimeMark>(std::move(moment));
}

std::unique_ptr<Device> make_cpu_device(int32_t threads) { return std::make_unique<CpuDevice>(threads); }

}  // namespace esp::runtime
