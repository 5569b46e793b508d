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

// Work of one step that was captured: launching it repeats the work, at the same addresses.
class Graph {
 public:
  virtual ~Graph() = default;
};

// What the device has taken in this process beside Memory: LibTorch's allocator, contexts, libraries.
struct ForeignMemory {
  uint64_t torch_allocated_peak = 0;  // bytes of tensors at their peak
  uint64_t device_peak = 0;           // bytes in use on the whole device as seen from here; 0: not known
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

  // Runs fn on the host in the order of the stream: on the stream's thread where it lives on the CPU, else on a thread
  // of the driver, which runs the functions of all streams one after the other: there fn must neither call the device
  // nor wait for other work of it. Exceptions become the sticky failure. Captured into a graph, fn runs at every
  // launch.
  virtual void enqueue(Stream& stream, std::function<void()> fn) = 0;

  virtual void sync(Stream& stream) = 0;                       // blocks until idle, then check()
  virtual void drain() noexcept = 0;                           // blocks until every stream is idle
  virtual void check() = 0;                                    // throws the sticky failure, never blocks
  virtual void fail(std::exception_ptr failure) noexcept = 0;  // makes it sticky, unless there is one: queues run empty

  virtual std::unique_ptr<TimeMark> mark(Stream& stream) = 0;

  // Capture: between begin and end, what is enqueued on compute and on streams that wait for it is noted, not run;
  // LibTorch allocates from memory that the graph keeps. CPU streams cannot take part. Nothing else may be enqueued
  // meanwhile.
  virtual bool captures() const { return false; }
  virtual void begin_capture();                  // throws Error(kInternal) where captures() is false
  virtual std::unique_ptr<Graph> end_capture();  // throws Error when something in between cannot be captured
  virtual void abandon_capture() noexcept {}     // after a failure between begin and end
  virtual void launch(Graph& graph);             // on compute

  virtual ForeignMemory foreign_memory() { return {}; }

  virtual Memory& memory() = 0;
  virtual Kernels& kernels() = 0;
};

// threads: of work on the compute stream (LibTorch's intra-op threads, too); at least 1.
std::unique_ptr<Device> make_cpu_device(int32_t threads);

}  // namespace esp::runtime
