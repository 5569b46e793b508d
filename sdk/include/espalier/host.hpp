// The host's services with exceptions instead of statuses. Meaning, threads and streams: see host.h.
#ifndef ESPALIER_HOST_HPP
#define ESPALIER_HOST_HPP

#include <espalier/host.h>

#include <espalier/failure.hpp>
#include <memory>
#include <string>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {

namespace detail {

// One table of the host with the context that belongs to it. May be absent; using it then throws.
template <class Table>
class Service {
 public:
  Service(const esp_host& host, const char* id)
      : id_(id), ctx_(host.ctx), table_(static_cast<const Table*>(host.service(host.ctx, id))) {
    if (table_ != nullptr && table_->struct_size < sizeof(Table)) {
      fail(ESP_E_ABI, "the host's table ", id, " has ", table_->struct_size, " bytes, ", sizeof(Table), " are needed");
    }
  }

  bool offered() const { return table_ != nullptr; }
  void* ctx() const { return ctx_; }
  const char* id() const { return id_; }
  const Table& table() const {
    if (table_ == nullptr) fail(ESP_E_ABI, "the host offers no ", id_);
    return *table_;
  }

 private:
  const char* id_;
  void* ctx_;
  const Table* table_;
};

}  // namespace detail

class Log : public detail::Service<esp_log_v1> {
 public:
  explicit Log(const esp_host& host) : Service(host, ESP_LOG_ID) {}
  void debug(const std::string& line) const { write(ESP_LOG_DEBUG, line); }
  void info(const std::string& line) const { write(ESP_LOG_INFO, line); }
  void warning(const std::string& line) const { write(ESP_LOG_WARNING, line); }
  void error(const std::string& line) const { write(ESP_LOG_ERROR, line); }
  void write(uint32_t level, const std::string& line) const {
    if (offered()) table().log(ctx(), level, line.data(), line.size());
  }
};

class Device : public detail::Service<esp_device_v1> {
 public:
  explicit Device(const esp_host& host) : Service(host, ESP_DEVICE_ID) {}
  esp_stream compute() const { return table().compute(ctx()); }
  esp_stream new_stream(uint32_t kind = ESP_STREAM_DEVICE, int32_t priority = 0) const {
    esp_stream stream = nullptr;
    call("esp.device stream_create", table().stream_create, ctx(), kind, priority, &stream);
    return stream;
  }
  esp_event new_event() const {
    esp_event event = nullptr;
    call("esp.device event_create", table().event_create, ctx(), &event);
    return event;
  }
  void record(esp_event event, esp_stream stream) const {
    call("esp.device record", table().record, ctx(), event, stream);
  }
  void wait(esp_stream stream, esp_event event) const { call("esp.device wait", table().wait, ctx(), stream, event); }
  void sync(esp_stream stream) const { call("esp.device sync", table().sync, ctx(), stream); }
  // Runs fn(copy of argument) on a CPU stream.
  template <class T>
  void run(esp_stream cpu, void (*fn)(void*), const T& argument) const {
    static_assert(std::is_trivially_copyable_v<T>, "the host copies the argument byte by byte");
    call("esp.device call", table().call, ctx(), cpu, fn, static_cast<const void*>(&argument),
         uint64_t{sizeof argument});
  }
};

// Memory of the host, freed with its owner. Zeroed when it is made.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const detail::Service<esp_memory_v1>& memory, uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags)
      : bytes_(bytes) {
    void* data = nullptr;
    call("esp.memory alloc", memory.table().alloc, memory.ctx(), place, bytes, tag, flags, &data);
    data_ = Owner(data, Free{&memory.table(), memory.ctx()});
  }

  uint64_t bytes() const { return bytes_; }
  // Address of element `i` of elements of type `dtype`; NULL for an empty buffer.
  void* at(uint64_t i, esp_dtype dtype) const {
    return data_ ? static_cast<char*>(data_.get()) + i * ESP_DTYPE_BYTES(dtype) : nullptr;
  }
  void* data() const { return data_.get(); }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  struct Free {
    const esp_memory_v1* table;
    void* ctx;
    void operator()(void* data) const { table->free(ctx, data); }
  };
  using Owner = std::unique_ptr<void, Free>;

  uint64_t bytes_ = 0;
  Owner data_{nullptr, Free{nullptr, nullptr}};
};

class Memory : public detail::Service<esp_memory_v1> {
 public:
  explicit Memory(const esp_host& host) : Service(host, ESP_MEMORY_ID) {}
  Buffer device(uint64_t bytes, uint32_t tag, uint32_t flags = 0) const {
    return bytes == 0 ? Buffer() : Buffer(*this, ESP_DEVICE, bytes, tag, flags);
  }
  Buffer pinned(uint64_t bytes, uint32_t tag, uint32_t flags = 0) const {
    return bytes == 0 ? Buffer() : Buffer(*this, ESP_PINNED, bytes, tag, flags);
  }
};

// An ordered set of ranks, this rank's place in it and its size. `handle` is NULL for ranks that are not in it.
struct Group {
  esp_comm handle = nullptr;
  int32_t rank = 0;
  int32_t size = 1;
};

class Comm : public detail::Service<esp_comm_v1> {
 public:
  explicit Comm(const esp_host& host) : Service(host, ESP_COMM_ID) {}
  // The data-parallel group.
  Group data() const {
    Group group;
    table().data(ctx(), &group.handle, &group.rank, &group.size);
    return group;
  }
  // A group of the named ranks of `parent`, ascending; all members of the parent call it.
  Group subset(const Group& parent, Slice<const int32_t> ranks) const {
    Group group;
    call("esp.comm subset", table().subset, ctx(), parent.handle, ranks.data(), static_cast<uint32_t>(ranks.size()),
         &group.handle);
    group.size = static_cast<int32_t>(ranks.size());
    group.rank = static_cast<int32_t>(std::find(ranks.begin(), ranks.end(), parent.rank) - ranks.begin());
    return group;
  }
  // In place.
  void all_reduce(const Group& group, void* data, uint64_t n, esp_dtype dtype, uint32_t op, esp_stream stream) const {
    call("esp.comm all_reduce", table().all_reduce, ctx(), group.handle, static_cast<const void*>(data), data, n, dtype,
         op, stream);
  }
  void reduce_scatter(const Group& group, const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op,
                      esp_stream stream) const {
    call("esp.comm reduce_scatter", table().reduce_scatter, ctx(), group.handle, in, out, n_out, dtype, op, stream);
  }
  void all_gather(const Group& group, const void* in, void* out, uint64_t n_in, esp_dtype dtype,
                  esp_stream stream) const {
    call("esp.comm all_gather", table().all_gather, ctx(), group.handle, in, out, n_in, dtype, stream);
  }
};

class Kernels : public detail::Service<esp_kernels_v1> {
 public:
  explicit Kernels(const esp_host& host) : Service(host, ESP_KERNELS_ID) {}
  void copy(void* dst, const void* src, uint64_t bytes, esp_stream stream) const {
    call("esp.kernels copy", table().copy, ctx(), dst, src, bytes, stream);
  }
  void zero(void* dst, uint64_t bytes, esp_stream stream) const {
    call("esp.kernels zero", table().zero, ctx(), dst, bytes, stream);
  }
  void convert(void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n, esp_stream stream) const {
    call("esp.kernels convert", table().convert, ctx(), dst, dst_t, src, src_t, n, stream);
  }
  void axpby(uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b, const float* pb, void* y,
             esp_dtype y_t, esp_stream stream) const {
    call("esp.kernels axpby", table().axpby, ctx(), n, a, pa, x, x_t, b, pb, y, y_t, stream);
  }
  void sum_sq(const void* x, uint64_t n, esp_dtype dtype, float* add_to, esp_stream stream) const {
    call("esp.kernels sum_sq", table().sum_sq, ctx(), x, n, dtype, add_to, stream);
  }
  void scalars(Slice<const esp_sop> ops, Slice<float* const> regs, esp_stream stream) const {
    call("esp.kernels scalars", table().scalars, ctx(), ops.data(), static_cast<uint32_t>(ops.size()), regs.data(),
         static_cast<uint32_t>(regs.size()), stream);
  }
};

class Update : public detail::Service<esp_update_v1> {
 public:
  explicit Update(const esp_host& host) : Service(host, ESP_UPDATE_ID) {}
  // From prepare on.
  const esp_update_desc& desc() const { return *table().desc(ctx()); }
  const esp_scalars& scalars() const { return *table().scalars(ctx()); }
  void norm_add(const void* grad, uint64_t n, esp_dtype dtype, esp_stream stream) const {
    call("esp.update norm_add", table().norm_add, ctx(), grad, n, dtype, stream);
  }
  // `sharded_over`: NULL when each rank added all of it.
  void norm_finish(esp_comm sharded_over, esp_stream stream) const {
    call("esp.update norm_finish", table().norm_finish, ctx(), sharded_over, stream);
  }
  void apply(Slice<const esp_range* const> ranges, esp_stream stream) const {
    call("esp.update apply", table().apply, ctx(), ranges.data(), static_cast<uint32_t>(ranges.size()), stream);
  }
};

// Everything the host gives to one instance. Lives as long as the instance; `create` takes what it needs from it.
class Host {
 public:
  Host(const esp_host& host, const esp_config& config)
      : log(host), device(host), memory(host), comm(host), kernels(host), update(host), config_(config) {}
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  const esp_run& run() const { return *config_.run; }
  // Models: names of the data's classes, label i is classes()[i].
  Slice<const char* const> classes() const { return {config_.classes, config_.classes ? config_.n_classes : 0}; }

  const Log log;
  const Device device;
  const Memory memory;
  const Comm comm;
  const Kernels kernels;
  const Update update;

 private:
  const esp_config& config_;
};

}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_HOST_HPP
