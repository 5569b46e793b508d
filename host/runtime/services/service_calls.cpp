#include "runtime/services/service_calls.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/device/dtype.hpp"

namespace esp::runtime {
namespace {

constexpr uint64_t kMaxElements = 1ull << 48;  // keeps byte counts far from overflow
constexpr uint32_t kMaxScalarOps = 32;
constexpr uint32_t kMaxScalarRegs = 250;

struct alignas(16) Word {
  unsigned char bytes[16];
};

const char* side_of(uint32_t place) { return place == ESP_PINNED ? "ESP_PINNED" : "ESP_DEVICE"; }

}  // namespace

UpdateService& ServiceCalls::update() const {
  if (host.update_ == nullptr) throw CallError(ESP_E_STATE, "esp.update is there once plan has returned");
  return *host.update_;
}

void ServiceCalls::outside_step(const char* what) const {
  if (host.step_kind_.load() == StepKind::kNone) return;
  throw CallError(ESP_E_STATE, std::string(what) + " is not allowed within a step; do it in create, prepare or adapt");
}

Stream& ServiceCalls::stream(esp_stream handle) const {
  const auto found = host.stream_of_.find(handle);
  if (found == host.stream_of_.end()) throw CallError(ESP_E_INVALID, "not a stream of this instance");
  return *found->second;
}

Communicator& ServiceCalls::comm(esp_comm handle) const {
  auto* wanted = reinterpret_cast<Communicator*>(handle);
  const bool known =
      wanted != nullptr && (wanted == host.data_ || std::any_of(host.subsets_.begin(), host.subsets_.end(),
                                                                [&](const auto& own) { return own.get() == wanted; }));
  if (!known) throw CallError(ESP_E_INVALID, "not a communicator of this instance (or one this rank is not in)");
  return *wanted;
}

void ServiceCalls::memory(const void* pointer, uint64_t n, uint64_t size, const Stream* stream, bool writable,
                          const char* name) const {
  if (n == 0) return;
  const auto refuse = [&](const std::string& why) {
    throw CallError(ESP_E_INVALID, std::string(name) + " (" + std::to_string(n * size) + " bytes) " + why);
  };
  if (n > kMaxElements) throw CallError(ESP_E_INVALID, std::string(name) + " has " + std::to_string(n) + " elements");
  if (pointer == nullptr) refuse("is NULL");
  if (reinterpret_cast<uintptr_t>(pointer) % size != 0) refuse("is not aligned to its element");
  const Memory::Block block = host.device_.memory().find(pointer, n * size);
  if (block.bytes == 0) refuse("does not lie within one block of memory.alloc");
  if (stream != nullptr) {
    const uint32_t side = stream->kind() == ESP_STREAM_CPU ? ESP_PINNED : ESP_DEVICE;
    if (block.place != side) {
      refuse(std::string("is ") + side_of(block.place) + " memory on stream '" + stream->name() + "', which touches " +
             side_of(side) + " memory only; kernels.copy crosses");
    }
  }
  if (writable && block.owner != &host.arena_) refuse("would be written, but belongs to " + block.owner->owner());
}

esp_stream ServiceCalls::create_stream(uint32_t kind, int32_t priority) const {
  outside_step("stream_create");
  if (kind != ESP_STREAM_DEVICE && kind != ESP_STREAM_CPU) {
    throw CallError(ESP_E_INVALID, "stream kind " + std::to_string(kind) + " is unknown");
  }
  const std::string name = (kind == ESP_STREAM_CPU ? "cpu " : "side ") + std::to_string(host.streams_.size());
  auto stream = host.device_.create_stream(kind, priority, name);
  const esp_stream handle = stream->handle();
  host.stream_of_[handle] = stream.get();
  host.streams_.push_back(std::move(stream));
  return handle;
}

esp_event ServiceCalls::create_event() const {
  outside_step("event_create");
  auto event = host.device_.create_event();
  const auto handle = reinterpret_cast<esp_event>(event.get());
  host.events_[handle].event = std::move(event);
  return handle;
}

void ServiceCalls::record(esp_event handle, esp_stream on) const {
  const auto found = host.events_.find(handle);
  if (found == host.events_.end()) throw CallError(ESP_E_INVALID, "not an event of this instance");
  host.device_.record(*found->second.event, stream(on));
  found->second.step = host.step_kind_.load() == StepKind::kNone ? 0 : host.steps_begun_;
}

void ServiceCalls::wait(esp_stream on, esp_event handle) const {
  const auto found = host.events_.find(handle);
  if (found == host.events_.end()) throw CallError(ESP_E_INVALID, "not an event of this instance");
  const uint64_t recorded = found->second.step;
  if (host.step_kind_.load() != StepKind::kNone && recorded != 0 && recorded != host.steps_begun_) {
    throw CallError(ESP_E_STATE,
                    "the event was recorded in an earlier step; the host orders steps, forget it in begin_step");
  }
  host.wait(stream(on), *found->second.event);
}

void ServiceCalls::call(esp_stream on, void (*fn)(void*), const void* arg, uint64_t bytes) const {
  Stream& target = stream(on);
  if (host.device_.kind() != ESP_CPU && target.kind() == ESP_STREAM_DEVICE) {
    throw CallError(ESP_E_UNSUPPORTED, "call needs a stream of kind ESP_STREAM_CPU");
  }
  if (fn == nullptr || (arg == nullptr && bytes != 0)) throw CallError(ESP_E_INVALID, "fn or arg is NULL");
  std::vector<Word> copy((bytes + sizeof(Word) - 1) / sizeof(Word));
  if (bytes != 0) std::memcpy(copy.data(), arg, bytes);
  host.device_.enqueue(target,
                       [fn, copy = std::move(copy), phases = host.options_.phases, phase = host.call_phase_]() mutable {
                         const PhaseBoard::Before before = phases.enter(phase);
                         fn(copy.data());
                         before.resume();
                       });
}

void* ServiceCalls::alloc(uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags) const {
  outside_step("alloc");
  if ((flags >> 16) != 0) throw CallError(ESP_E_UNSUPPORTED, "memory flags " + std::to_string(flags) + " are unknown");
  try {
    return host.arena_.alloc(place, bytes, tag);
  } catch (const Error& failure) {
    if (failure.code() != ExitCode::kResource) throw;
    throw CallError(place == ESP_PINNED ? ESP_E_HOST_MEMORY : ESP_E_DEVICE_MEMORY, failure.what());
  }
}

void ServiceCalls::free(void* memory) const {
  if (memory == nullptr) return;
  outside_step("free");
  host.device_.drain();  // a queue may still use it
  host.arena_.free(memory);
}

esp_comm ServiceCalls::subset(esp_comm parent, const int32_t* ranks, uint32_t n) const {
  outside_step("subset");
  Communicator& all = comm(parent);
  if (n == 0 || ranks == nullptr) throw CallError(ESP_E_INVALID, "a subset needs at least one rank");
  auto made = all.subset({ranks, n});
  if (made == nullptr) return nullptr;
  host.subsets_.push_back(std::move(made));
  return reinterpret_cast<esp_comm>(host.subsets_.back().get());
}

void ServiceCalls::scalars(const esp_sop* ops, uint32_t n, float* const* regs, uint32_t n_regs, esp_stream on) const {
  if (n > kMaxScalarOps || n_regs > kMaxScalarRegs)
    throw CallError(ESP_E_INVALID, "at most 32 operations on 250 scalars");
  if (n == 0) return;
  if (ops == nullptr || regs == nullptr) throw CallError(ESP_E_INVALID, "ops or regs is NULL");
  Stream& target = stream(on);
  for (uint32_t i = 0; i < n_regs; ++i) memory(regs[i], 1, sizeof(float), &target, false, "regs");
  for (uint32_t i = 0; i < n; ++i) {
    const esp_sop& op = ops[i];
    const bool known = op.op >= ESP_SOP_SET && op.op <= ESP_SOP_FINITE && op.dst < n_regs && op.a < n_regs &&
                       (op.b < n_regs || op.b == ESP_SOP_IMM);
    if (!known)
      throw CallError(ESP_E_INVALID, "operation " + std::to_string(i) + " or one of its registers is unknown");
    memory(regs[op.dst], 1, sizeof(float), &target, true, "regs[dst]");
  }
  kernels().scalars(target, {ops, n}, {regs, n_regs});
}

void ServiceCalls::apply(std::span<const esp_range* const> ranges, Stream& on) const {
  update().apply(ranges, on, [&](const UpdateRange& range) {
    memory(range.master, range.n, bytes_of(range.master_t), &on, true, "master");
    memory(range.grad, range.n, bytes_of(range.grad_t), &on, false, "grad");
    if (range.out != nullptr) memory(range.out, range.n, bytes_of(range.out_t), &on, true, "out");
    for (void* slot : range.slots) {
      if (slot != nullptr) memory(slot, range.n, bytes_of(range.master_t), &on, true, "slots");
    }
  });
}

void ServiceCalls::log(uint32_t level, std::string_view text) const {
  if (!host.options_.log) return;
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  host.options_.log(level, host.options_.component, line);
}

const void* ServiceCalls::service(std::string_view id) const {
  const uint32_t kind = host.options_.kind;
  if (id == ESP_LOG_ID) return service_table(id);
  if (kind == ESP_DATASET) return nullptr;
  const bool strategy_only = id == ESP_COMM_ID || id == ESP_UPDATE_ID;
  if (strategy_only && (kind != ESP_STRATEGY || (id == ESP_COMM_ID && host.data_ == nullptr))) return nullptr;
  return service_table(id);
}

}  // namespace esp::runtime
