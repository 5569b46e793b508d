// esp.device, esp.memory and the binder.
#include <cstring>

#include "verify/element.hpp"
#include "verify/rank_host.hpp"

namespace esp::verify {

struct DeviceTable {
  static RankHost& of(void* ctx) { return called_host(ctx); }

  static esp_stream compute(void* ctx) { return of(ctx).compute(); }

  static esp_status stream_create(void* ctx, uint32_t kind, int32_t, esp_stream* out, esp_error* error) {
    RankHost& host = of(ctx);
    if (host.role != Role::kMain) {
      host.found(host.role == Role::kPlan ? "HOOK-04" : "HOOK-01", "stream_create");
      return refuse(error, ESP_E_STATE, "streams are created outside steps");
    }
    host.streams_.push_back(std::make_unique<esp_stream_s>());
    *out = host.streams_.back().get();
    **out = {
        ctx, static_cast<uint32_t>(host.streams_.size() - 1), kind == ESP_STREAM_CPU ? ESP_PINNED : ESP_DEVICE, {}, {}};
    host.order(host.compute(), *out);
    return ESP_OK;
  }
  static esp_status event_create(void* ctx, esp_event* out, esp_error* error) {
    RankHost& host = of(ctx);
    if (host.role != Role::kMain) {
      host.found(host.role == Role::kPlan ? "HOOK-04" : "HOOK-01", "event_create");
      return refuse(error, ESP_E_STATE, "events are created outside steps");
    }
    host.events_.push_back(std::make_unique<esp_event_s>());
    *out = host.events_.back().get();
    (*out)->owner = ctx;
    (*out)->number = static_cast<uint32_t>(host.events_.size() - 1);
    return ESP_OK;
  }
  static esp_status record(void* ctx, esp_event event, esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (!host.own(event) || !host.own(stream)) return refuse(error, ESP_E_INVALID, "a foreign handle");
    event->seen = stream->seen;
    event->before = stream->before;
    event->segment = host.segment_;
    return ESP_OK;
  }
  static esp_status wait(void* ctx, esp_stream stream, esp_event event, esp_error* error) {
    RankHost& host = of(ctx);
    if (!host.own(event) || !host.own(stream)) return refuse(error, ESP_E_INVALID, "a foreign handle");
    if (event->segment < 0) return ESP_OK;
    if (event->segment != host.segment_ && host.role == Role::kMain) return ESP_OK;
    if (event->segment != host.segment_) {
      host.found("STREAM-02", "event " + std::to_string(event->number) + " was recorded in an earlier step");
      return ESP_OK;
    }
    stream->seen.insert(event->seen);
    stream->before.insert(stream->before.end(), event->before.begin(), event->before.end());
    return ESP_OK;
  }
  static esp_status call(void* ctx, esp_stream stream, void (*fn)(void*), const void* arg, uint64_t bytes,
                         esp_error* error) {
    RankHost& host = of(ctx);
    if (!host.own(stream)) return refuse(error, ESP_E_INVALID, "a foreign stream");
    // 16-byte aligned, and anew for each run: a replay must not see what the last one left in it.
    std::vector<char> given(static_cast<const char*>(arg), static_cast<const char*>(arg) + bytes);
    host.enqueue("call", stream, [fn, given] {
      std::vector<long double> room(given.size() / sizeof(long double) + 1);
      if (!given.empty()) std::memcpy(room.data(), given.data(), given.size());
      fn(room.data());
    });
    return ESP_OK;
  }
  static esp_status sync(void* ctx, esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (host.role != Role::kMain) {
      host.found(host.role == Role::kPlan ? "HOOK-04" : "HOOK-02", "sync");
      return refuse(error, ESP_E_STATE, "no sync inside steps");
    }
    if (!host.own(stream)) return refuse(error, ESP_E_INVALID, "a foreign stream");
    host.meet_(host.settings.rank);
    return ESP_OK;
  }
};

struct MemoryTable {
  static esp_status alloc(void* ctx, uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags, void** out,
                          esp_error* error) {
    RankHost& host = DeviceTable::of(ctx);
    if (host.role != Role::kMain) {
      host.found(host.role == Role::kPlan ? "HOOK-04" : "HOOK-01", "alloc of " + std::to_string(bytes) + " bytes");
      return refuse(error, ESP_E_STATE, "memory is taken outside steps");
    }
    const auto number = static_cast<int64_t>(host.allocations_asked++);
    const uint64_t budget = host.device_limit;
    const bool too_much = place == ESP_DEVICE && budget != 0 && host.arena.living_bytes(ESP_DEVICE) + bytes > budget;
    if (number == host.settings.refuse_allocation || too_much) {
      return refuse(error, place == ESP_PINNED ? ESP_E_HOST_MEMORY : ESP_E_DEVICE_MEMORY,
                    "no " + std::to_string(bytes) + " bytes left");
    }
    if ((place != ESP_DEVICE && place != ESP_PINNED) || tag >= ESP_N_TAGS) {
      return refuse(error, ESP_E_INVALID, "no such place or tag");
    }
    *out = host.arena.allocate(place, bytes, tag, flags);
    return ESP_OK;
  }
  static void free(void* ctx, void* memory) {
    RankHost& host = DeviceTable::of(ctx);
    if (memory == nullptr) return;
    if (host.role == Role::kStep) {
      host.found("HOOK-01", "free");
      return;
    }
    if (!host.arena.release(memory)) host.found("MEM-05", "an address that is not an allocation, or was freed before");
  }
};

struct BindTable {
  static bool check(RankHost& host, const esp_bind& bind) {
    const bool gradient = bind.what == ESP_BIND_GRAD;
    const bool mode_fits = gradient ? bind.mode == ESP_WRITE_EACH_PASS || bind.mode == ESP_WRITE_NOW : bind.mode == 0;
    if (bind.param >= Toy::kParams || (!gradient && bind.what != ESP_BIND_PARAM)) {
      host.found("BIND-06", "bind of " + param_text(host.toy, bind.param) + ", what " + std::to_string(bind.what));
      return false;
    }
    const std::string name = param_text(host.toy, bind.param);
    if (bind.data != nullptr && (!mode_fits || (gradient && !host.toy.trainable(bind.param)))) {
      host.found("BIND-06",
                 "bind of " + name + ", what " + std::to_string(bind.what) + ", mode " + std::to_string(bind.mode));
      return false;
    }
    return true;
  }
  static bool check_memory(RankHost& host, const esp_bind& bind) {
    const uint64_t numel = host.toy.numel(bind.param);
    if (numel == 0 || bind.data == nullptr) return numel > 0;
    const std::string name = param_text(host.toy, bind.param);
    const esp_dtype expected = bind.what == ESP_BIND_GRAD ? host.plan.grad_t : host.plan.compute_t;
    if (bind.dtype != expected) {
      host.found("BIND-05", "bind of " + name + " with another dtype than plan told");
      return false;
    }
    const uint64_t bytes = numel * ESP_DTYPE_BYTES(bind.dtype);
    const Arena::Allocation* memory = host.arena.find(bind.data, bytes);
    if (memory == nullptr || !memory->living) {
      host.found("BIND-03",
                 "bind of " + name + ": its " + std::to_string(bytes) + " bytes are not inside one living allocation");
      return false;
    }
    if (reinterpret_cast<uintptr_t>(bind.data) % ESP_DTYPE_BYTES(bind.dtype) != 0) {
      host.found("BIND-03", "bind of " + name + " is not aligned");
      return false;
    }
    if (memory->place != ESP_DEVICE) host.found("BIND-03", "bind of " + name + " to memory that is not ESP_DEVICE");
    return true;
  }
  static void take(RankHost& host, const esp_bind& bind) {
    auto& bound = bind.what == ESP_BIND_GRAD ? host.gradients : host.params;
    if (bind.data == nullptr) {
      bound.erase(bind.param);
      return;
    }
    bound[bind.param] = bind;
    if (bind.mode == ESP_WRITE_NOW) host.armed.insert(bind.param);
  }
};

esp_status bind_call(void* ctx, const esp_bind* binds, uint32_t n, esp_error* error) {
  RankHost& host = DeviceTable::of(ctx);
  if (host.role == Role::kPlan) host.found("HOOK-04", "bind");
  for (uint32_t i = 0; i < n; ++i) {
    if (!BindTable::check(host, binds[i])) return refuse(error, ESP_E_INVALID, "bind does not fit the view");
    if (host.toy.numel(binds[i].param) == 0) continue;
    if (!BindTable::check_memory(host, binds[i])) {
      if (binds[i].data != nullptr) return refuse(error, ESP_E_INVALID, "bind to unusable memory");
    }
    BindTable::take(host, binds[i]);
  }
  return ESP_OK;
}

const esp_device_v1& device_table() {
  using T = DeviceTable;
  static const esp_device_v1 table = {sizeof table, 0,       T::compute, T::stream_create, T::event_create,
                                      T::record,    T::wait, T::call,    T::sync};
  return table;
}

const esp_memory_v1& memory_table() {
  static const esp_memory_v1 table = {sizeof table, 0, MemoryTable::alloc, MemoryTable::free};
  return table;
}

}  // namespace esp::verify
