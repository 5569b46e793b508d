#include "runtime/services/host_services.hpp"

#include <algorithm>
#include <utility>

#include "runtime/services/service_calls.hpp"

namespace esp::runtime {
namespace {

const void* find_service(void* ctx, const char* id) {
  return id == nullptr ? nullptr : ServiceCalls{ServiceCalls::of(ctx)}.service(id);
}

}  // namespace

HostServices::HostServices(Device& device, Communicator* data, ServiceOptions options)
    : device_(device),
      data_(data),
      options_(std::move(options)),
      arena_(device.memory(), options_.component, options_.budget_device, options_.budget_pinned),
      forked_(device.create_event()),
      joined_(device.create_event()) {
  host_ = {ESP_UPTO(esp_host, service), 0, this, find_service};
  stream_of_[device.compute().handle()] = &device.compute();
  if (options_.phases.name != nullptr) {
    call_phase_ = options_.phases.name(("device.call of " + options_.component).c_str(), true);
  }
}

HostServices::~HostServices() { device_.drain(); }

void HostServices::fork(StepKind kind) {
  device_.record(*forked_, device_.compute());
  for (const auto& stream : streams_) {
    device_.wait(*stream, *forked_);
    options_.late.after_wait(device_, *stream);
  }
  options_.late.after_wait(device_, device_.compute());  // which all that came before the step has waited for
  forget_order();
  ++steps_begun_;
  step_kind_ = kind;
}

bool HostServices::uses_cpu_streams() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& s) { return s->kind() == ESP_STREAM_CPU; });
}

void HostServices::join() {
  if (update_ != nullptr) update_->flush_norm();
  step_kind_ = StepKind::kNone;
  for (const auto& stream : streams_) {
    device_.record(*joined_, *stream);
    wait(device_.compute(), *joined_);
  }
  forget_order();
}

void HostServices::wait(Stream& stream, Event& event) {
  const auto enqueue = [&] { device_.wait(stream, event); };
  if (options_.stalls == nullptr) {
    enqueue();
  } else {
    options_.stalls->around(stream, StallMeter::Kind::kWait, enqueue);
  }
  options_.late.after_wait(device_, stream);
}

void HostServices::forget_order() {
  if (data_ != nullptr) data_->forget_order();
  for (const auto& subset : subsets_) subset->forget_order();
}

}  // namespace esp::runtime
