// The tables of host.h as C functions. Each: the sticky failure first, then checks, then the work is enqueued.
#include <string>

#include "runtime/device/dtype.hpp"
#include "runtime/services/service_calls.hpp"

namespace esp::runtime {
namespace {

// norm_add leaves what it gathers to the next call that touches the stream; apply may use it.
enum class Gathered { kFlush, kKeep };

template <class Body>
esp_status serve(void* ctx, esp_error* error, const char* where, Body&& body,
                 Gathered gathered = Gathered::kFlush) noexcept {
  return guarded(error, where, [&] {
    const ServiceCalls calls{ServiceCalls::of(ctx)};
    calls.device().check();
    if (gathered == Gathered::kFlush && calls.update_or_null() != nullptr) calls.update_or_null()->flush_norm();
    body(calls);
  });
}

void need(const void* out, const char* name) {
  if (out == nullptr) throw CallError(ESP_E_INVALID, std::string(name) + " is NULL");
}

void need_float(esp_dtype dtype) {
  if (!is_float(dtype)) throw CallError(ESP_E_UNSUPPORTED, name_of(dtype) + " is not one of F64, F32, BF16, F16");
}

// ---- esp.log

void log_line(void* ctx, uint32_t level, const char* text, uint64_t bytes) {
  guarded(nullptr, "log.log", [&] {
    if (text != nullptr) ServiceCalls{ServiceCalls::of(ctx)}.log(level, {text, bytes});
  });
}

// ---- esp.device

esp_stream compute(void* ctx) { return ServiceCalls{ServiceCalls::of(ctx)}.device().compute().handle(); }

esp_status stream_create(void* ctx, uint32_t kind, int32_t priority, esp_stream* out, esp_error* error) {
  return serve(ctx, error, "device.stream_create", [&](const ServiceCalls& calls) {
    need(out, "out");
    *out = calls.create_stream(kind, priority);
  });
}

esp_status event_create(void* ctx, esp_event* out, esp_error* error) {
  return serve(ctx, error, "device.event_create", [&](const ServiceCalls& calls) {
    need(out, "out");
    *out = calls.create_event();
  });
}

esp_status record(void* ctx, esp_event event, esp_stream stream, esp_error* error) {
  return serve(
      ctx, error, "device.record",
      [&](const ServiceCalls& calls) {
        if (calls.update_or_null() != nullptr) calls.update().flush_norm(calls.stream(stream));
        calls.record(event, stream);
      },
      Gathered::kKeep);
}

esp_status wait(void* ctx, esp_stream stream, esp_event event, esp_error* error) {
  return serve(
      ctx, error, "device.wait", [&](const ServiceCalls& calls) { calls.wait(stream, event); }, Gathered::kKeep);
}

esp_status call(void* ctx, esp_stream stream, void (*fn)(void*), const void* arg, uint64_t bytes, esp_error* error) {
  return serve(ctx, error, "device.call", [&](const ServiceCalls& calls) { calls.call(stream, fn, arg, bytes); });
}

esp_status sync(void* ctx, esp_stream stream, esp_error* error) {
  return serve(ctx, error, "device.sync", [&](const ServiceCalls& calls) {
    calls.outside_step("sync");
    calls.device().sync(calls.stream(stream));
  });
}

// ---- esp.memory

esp_status alloc(void* ctx, uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags, void** out,
                 esp_error* error) {
  return serve(ctx, error, "memory.alloc", [&](const ServiceCalls& calls) {
    need(out, "out");
    *out = calls.alloc(place, bytes, tag, flags);
  });
}

void free_memory(void* ctx, void* memory) {
  esp_error error{};
  error.struct_size = ESP_UPTO(esp_error, message);
  const ServiceCalls calls{ServiceCalls::of(ctx)};
  if (guarded(&error, "memory.free", [&] { calls.free(memory); }) == ESP_OK) return;
  guarded(nullptr, "memory.free",
          [&] { calls.log(ESP_LOG_PLUGIN_MISBEHAVES, std::string("memory.free: ") + error.message); });
}

// ---- esp.comm

esp_status data(void* ctx, esp_comm* out, int32_t* rank, int32_t* size) {
  return guarded(nullptr, "comm.data", [&] {
    const ServiceCalls calls{ServiceCalls::of(ctx)};
    Communicator& all = calls.data();
    if (out != nullptr) *out = reinterpret_cast<esp_comm>(&all);
    if (rank != nullptr) *rank = all.rank();
    if (size != nullptr) *size = all.size();
  });
}

esp_status subset(void* ctx, esp_comm parent, const int32_t* ranks, uint32_t n, esp_comm* out, esp_error* error) {
  return serve(ctx, error, "comm.subset", [&](const ServiceCalls& calls) {
    need(out, "out");
    *out = calls.subset(parent, ranks, n);
  });
}

void need_op(uint32_t op) {
  if (op < ESP_SUM || op > ESP_MIN) throw CallError(ESP_E_INVALID, "reduction " + std::to_string(op) + " is unknown");
}

esp_status all_reduce(void* ctx, esp_comm comm, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op,
                      esp_stream stream, esp_error* error) {
  return serve(ctx, error, "comm.all_reduce", [&](const ServiceCalls& calls) {
    need_float(dtype);
    need_op(op);
    Stream& on = calls.stream(stream);
    calls.memory(in, n, bytes_of(dtype), &on, false, "in");
    calls.memory(out, n, bytes_of(dtype), &on, true, "out");
    calls.comm(comm).all_reduce(in, out, n, dtype, op, on);
  });
}

esp_status reduce_scatter(void* ctx, esp_comm comm, const void* in, void* out, uint64_t n_out, esp_dtype dtype,
                          uint32_t op, esp_stream stream, esp_error* error) {
  return serve(ctx, error, "comm.reduce_scatter", [&](const ServiceCalls& calls) {
    need_float(dtype);
    need_op(op);
    Stream& on = calls.stream(stream);
    Communicator& group = calls.comm(comm);
    calls.memory(out, n_out, bytes_of(dtype), &on, true, "out");
    calls.memory(in, n_out * static_cast<uint64_t>(group.size()), bytes_of(dtype), &on, false, "in");
    group.reduce_scatter(in, out, n_out, dtype, op, on);
  });
}

esp_status all_gather(void* ctx, esp_comm comm, const void* in, void* out, uint64_t n_in, esp_dtype dtype,
                      esp_stream stream, esp_error* error) {
  return serve(ctx, error, "comm.all_gather", [&](const ServiceCalls& calls) {
    if (dtype != ESP_U8) need_float(dtype);
    Stream& on = calls.stream(stream);
    Communicator& group = calls.comm(comm);
    calls.memory(in, n_in, bytes_of(dtype), &on, false, "in");
    calls.memory(out, n_in * static_cast<uint64_t>(group.size()), bytes_of(dtype), &on, true, "out");
    group.all_gather(in, out, n_in, dtype, on);
  });
}

// ---- esp.kernels

esp_status copy(void* ctx, void* dst, const void* src, uint64_t bytes, esp_stream stream, esp_error* error) {
  return serve(ctx, error, "kernels.copy", [&](const ServiceCalls& calls) {
    Stream& on = calls.stream(stream);
    calls.memory(dst, bytes, 1, nullptr, true, "dst");
    calls.memory(src, bytes, 1, nullptr, false, "src");
    const auto to = reinterpret_cast<uintptr_t>(dst);
    const auto from = reinterpret_cast<uintptr_t>(src);
    if (bytes != 0 && to < from + bytes && from < to + bytes) throw CallError(ESP_E_INVALID, "dst and src overlap");
    calls.kernels().copy(on, dst, src, bytes);
  });
}

esp_status zero(void* ctx, void* dst, uint64_t bytes, esp_stream stream, esp_error* error) {
  return serve(ctx, error, "kernels.zero", [&](const ServiceCalls& calls) {
    Stream& on = calls.stream(stream);
    calls.memory(dst, bytes, 1, &on, true, "dst");
    calls.kernels().zero(on, dst, bytes);
  });
}

esp_status convert(void* ctx, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n,
                   esp_stream stream, esp_error* error) {
  return serve(ctx, error, "kernels.convert", [&](const ServiceCalls& calls) {
    need_float(dst_t);
    need_float(src_t);
    Stream& on = calls.stream(stream);
    calls.memory(dst, n, bytes_of(dst_t), &on, true, "dst");
    calls.memory(src, n, bytes_of(src_t), &on, false, "src");
    calls.kernels().convert(on, dst, dst_t, src, src_t, n);
  });
}

esp_status axpby(void* ctx, uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b,
                 const float* pb, void* y, esp_dtype y_t, esp_stream stream, esp_error* error) {
  return serve(ctx, error, "kernels.axpby", [&](const ServiceCalls& calls) {
    need_float(x_t);
    need_float(y_t);
    Stream& on = calls.stream(stream);
    if (pa != nullptr) calls.memory(pa, 1, sizeof(float), &on, false, "pa");
    if (pb != nullptr) calls.memory(pb, 1, sizeof(float), &on, false, "pb");
    calls.memory(x, n, bytes_of(x_t), &on, false, "x");
    calls.memory(y, n, bytes_of(y_t), &on, true, "y");
    calls.kernels().axpby(on, n, a, pa, x, x_t, b, pb, y, y_t);
  });
}

esp_status sum_sq(void* ctx, const void* x, uint64_t n, esp_dtype x_t, float* add_to, esp_stream stream,
                  esp_error* error) {
  return serve(ctx, error, "kernels.sum_sq", [&](const ServiceCalls& calls) {
    need_float(x_t);
    Stream& on = calls.stream(stream);
    calls.memory(x, n, bytes_of(x_t), &on, false, "x");
    calls.memory(add_to, 1, sizeof(float), &on, true, "add_to");
    calls.kernels().sum_sq(on, x, n, x_t, add_to);
  });
}

esp_status scalars(void* ctx, const esp_sop* ops, uint32_t n, float* const* regs, uint32_t n_regs, esp_stream stream,
                   esp_error* error) {
  return serve(ctx, error, "kernels.scalars",
               [&](const ServiceCalls& calls) { calls.scalars(ops, n, regs, n_regs, stream); });
}

// ---- esp.update

const esp_update_desc* update_desc(void* ctx) {
  const UpdateService* update = ServiceCalls{ServiceCalls::of(ctx)}.update_or_null();
  return update == nullptr ? nullptr : update->desc();
}

const esp_scalars* update_scalars(void* ctx) {
  const UpdateService* update = ServiceCalls{ServiceCalls::of(ctx)}.update_or_null();
  return update == nullptr ? nullptr : update->scalars();
}

esp_status norm_add(void* ctx, const void* grad, uint64_t n, esp_dtype dtype, esp_stream stream, esp_error* error) {
  return serve(
      ctx, error, "update.norm_add",
      [&](const ServiceCalls& calls) {
        need_float(dtype);
        Stream& on = calls.stream(stream);
        calls.memory(grad, n, bytes_of(dtype), &on, false, "grad");
        calls.update().norm_add(grad, n, dtype, on);
      },
      Gathered::kKeep);
}

esp_status norm_finish(void* ctx, esp_comm sharded_over, esp_stream stream, esp_error* error) {
  return serve(ctx, error, "update.norm_finish", [&](const ServiceCalls& calls) {
    Communicator* group = sharded_over == nullptr ? nullptr : &calls.comm(sharded_over);
    calls.update().norm_finish(group, calls.stream(stream));
  });
}

esp_status apply(void* ctx, const esp_range* const* ranges, uint32_t n, esp_stream stream, esp_error* error) {
  return serve(
      ctx, error, "update.apply",
      [&](const ServiceCalls& calls) {
        if (n == 0) return;
        need(ranges, "ranges");
        calls.apply({ranges, n}, calls.stream(stream));
      },
      Gathered::kKeep);
}

constexpr esp_log_v1 kLog{ESP_UPTO(esp_log_v1, log), 0, log_line};
constexpr esp_device_v1 kDevice{
    ESP_UPTO(esp_device_v1, sync), 0, compute, stream_create, event_create, record, wait, call, sync};
constexpr esp_memory_v1 kMemory{ESP_UPTO(esp_memory_v1, free), 0, alloc, free_memory};
constexpr esp_comm_v1 kComm{ESP_UPTO(esp_comm_v1, all_gather), 0, data, subset, all_reduce, reduce_scatter, all_gather};
constexpr esp_kernels_v1 kKernels{ESP_UPTO(esp_kernels_v1, scalars), 0, copy, zero, convert, axpby, sum_sq, scalars};
constexpr esp_update_v1 kUpdate{
    ESP_UPTO(esp_update_v1, apply), 0, update_desc, update_scalars, norm_add, norm_finish, apply};

}  // namespace

const void* service_table(std::string_view id) {
  if (id == ESP_LOG_ID) return &kLog;
  if (id == ESP_DEVICE_ID) return &kDevice;
  if (id == ESP_MEMORY_ID) return &kMemory;
  if (id == ESP_COMM_ID) return &kComm;
  if (id == ESP_KERNELS_ID) return &kKernels;
  if (id == ESP_UPDATE_ID) return &kUpdate;
  return nullptr;
}

}  // namespace esp::runtime
