// One device of this rank behind one interface: streams, events, memory, kernels. cpu is built in; cuda is a library of
// its own.
#pragma once

#include <espalier/host.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "runtime/device/kernels.hpp"
#include "runtime/device/memory.hpp"

namespace esp::runtime {

// A FIFO of work. Created and destroyed outside steps; its destructor drains it.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual esp_stream handle() const = 0;  // what plugins see
  virtual uint32_t kind() const = 0;      // ESP_STREAM_DEVICE, ESP_STREAM_CPU
  virtual uint32_t index() const = 0;     // in order of creation on its device; compute is 0
  virtual const std::string& name() const = 0;
};

class Event {
 public:
  virtual ~Event() = default;
};

// A moment on a stream. Only differences of seconds() mean something.
class TimeMark {
 public:
  virtual ~TimeMark() = default;
  virtual double seconds() = 0;  // blocks the host until the stream got there
};

// Thread roles are those of the ABI: create and destroy on the main thread outside steps, enqueue from one thread at a
// time. Failures of enqueued work are sticky: the first is kept, what is queued behind it (on every stream) is dropped,
// events still complete, and check, sync and every later enqueue throw it.
class Device {
 public:
  virtual ~Device() = default;

  virtual int32_t kind() const = 0;  // ESP_CPU, ESP_CUDA
  virtual int32_t index() const = 0;
  virtual std::string name() const = 0;

  virtual Stream& compute() = 0;
  virtual std::unique_ptr<Stream> create_stream(uint32_t kind, int32_t priority, std::string name) = 0;
  virtual std::unique_ptr<Event> create_event() = 0;
  virtual void record(Event& event, Stream& stream) = 0;
  virtual void wait(Stream& stream, Event& event) = 0;  // the most recent record as of this call; never recorded: no-op
  virtual void synchronize(Event& event) = 0;           // the host waits likewise; does not throw what failed meanwhile

  // Runs fn on the thread of a stream that lives on the CPU. Exceptions become the sticky failure. Throws
  // Error(kInternal) for a CUDA device stream.
  virtual void enqueue(Stream& stream, std::function<void()> fn) = 0;

  virtual void sync(Stream& stream) = 0;                       // blocks until idle, then check()
  virtual void drain() noexcept = 0;                           // blocks until every stream is idle
  virtual void check() = 0;                                    // throws the sticky failure, never blocks
  virtual void fail(std::exception_ptr failure) noexcept = 0;  // makes it sticky, unless there is one: queues run empty

  virtual std::unique_ptr<TimeMark> mark(Stream& stream) = 0;

  virtual Memory& memory() = 0;
  virtual Kernels& kernels() = 0;
};

// threads: of work on the compute stream (LibTorch's intra-op threads, too); at least 1.
std::unique_ptr<Device> make_cpu_device(int32_t threads);

}  // namespace esp::runtime
