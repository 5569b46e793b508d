// The host as one instance (a strategy, a model or a dataset) sees it: an esp_host with its service tables, and
// everything the instance made through them.
#pragma once

#include <espalier/abi.h>
#include <espalier/host.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/api.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/stall_meter.hpp"
#include "runtime/device/device.hpp"
#include "runtime/services/late_streams.hpp"
#include "runtime/update/update_service.hpp"

namespace esp::runtime {

using LogSink = std::function<void(uint32_t level, const std::string& component, const std::string& text)>;

struct ServiceOptions {
  uint32_t kind = ESP_STRATEGY;  // strategies get all tables, models no comm and no update, datasets only log
  std::string component;         // "libddp.so:ddp", for messages
  uint64_t budget_device = 0;    // bytes, 0 = no limit
  uint64_t budget_pinned = 0;
  LogSink log;
  StallMeter* stalls = nullptr;  // of waits of the compute stream
  LateStreams late;
  PhaseBoard phases;
};

enum class StepKind : uint32_t { kNone, kTrain, kEval };

// Order of a life: construct, component create, attach_update (strategies, after plan), steps, component destroy,
// destruct. The destructor drains the device, then streams, events, communicators and memory of the instance go.
class HostServices {
 public:
  HostServices(Device& device, Communicator* data, ServiceOptions options);  // data: NULL = no esp.comm
  ~HostServices();
  HostServices(const HostServices&) = delete;
  HostServices& operator=(const HostServices&) = delete;

  const esp_host* host() const { return &host_; }
  void attach_update(UpdateService* update) { update_ = update; }
  // The instance may use a stream of the host beside compute. fork and join leave it alone.
  void lend(Stream& stream) { stream_of_[stream.handle()] = &stream; }

  // fork: every stream of the instance waits for compute; in a step from here on. join: compute waits for all of them;
  // the step is over. Both only enqueue.
  void fork(StepKind kind);
  void join();
  // After a failure within a step: what follows is destruction, which may free.
  void abandon_step() { step_kind_ = StepKind::kNone; }

  const Arena& arena() const { return arena_; }
  // Whether the instance made a stream of the CPU on a device that is none: its steps cannot be captured.
  bool uses_cpu_streams() const;

 private:
  friend struct ServiceCalls;  // the tables' functions, host_services.cpp and tables.cpp

  struct OwnedEvent {
    std::unique_ptr<Event> event;
    uint64_t step = 0;  // in which it was recorded last
    bool recorded_in_step = false;
  };

  void wait(Stream& stream, Event& event);
  void forget_order();

  Device& device_;
  Communicator* data_;
  UpdateService* update_ = nullptr;
  ServiceOptions options_;
  esp_host host_{};
  Arena arena_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::unordered_map<esp_stream, Stream*> stream_of_;  // compute, what was lent and the instance's own
  std::unordered_map<esp_event, OwnedEvent> events_;
  std::vector<std::unique_ptr<Communicator>> subsets_;
  std::unique_ptr<Event> forked_, joined_;
  std::atomic<StepKind> step_kind_{StepKind::kNone};
  uint64_t steps_begun_ = 0;
  uint32_t call_phase_ = 0;  // of functions run by device.call
};

}  // namespace esp::runtime
