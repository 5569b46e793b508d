#include "mock_host.hpp"

#include <cstdlib>
#include <cstring>

namespace {

constexpr float kRate = 0.125f;
constexpr float kMomentum = 0.5f;

float from_bf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace

float to_float(const void* data, uint64_t i, esp_dtype dtype) {
  return dtype == ESP_F32 ? static_cast<const float*>(data)[i] : from_bf16(static_cast<const uint16_t*>(data)[i]);
}

void from_float(void* data, uint64_t i, esp_dtype dtype, float value) {
  if (dtype == ESP_F32) {
    static_cast<float*>(data)[i] = value;
  } else {
    static_cast<uint16_t*>(data)[i] = to_bf16(value);
  }
}

void MockWorld::all_reduce(int rank, void* data, uint64_t n, esp_dtype dtype, uint32_t op) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return open_; });
  std::vector<float>& part = parts_[static_cast<size_t>(rank)];
  part.resize(n);
  for (uint64_t i = 0; i < n; ++i) part[i] = to_float(data, i, dtype);
  if (++arrived_ == parts_.size()) {
    sum_.assign(n, 0.0f);
    for (uint64_t i = 0; i < n; ++i) {
      sum_[i] = parts_[0].at(i);
      for (size_t r = 1; r < parts_.size(); ++r) sum_[i] += parts_[r].at(i);
      if (op == ESP_AVG) sum_[i] /= static_cast<float>(parts_.size());
    }
    open_ = false;
    left_ = 0;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return !open_; });
  for (uint64_t i = 0; i < n; ++i) from_float(data, i, dtype, sum_[i]);
  if (++left_ == parts_.size()) {
    arrived_ = 0;
    open_ = true;
    changed_.notify_all();
  }
}

// The tables. Every function finds its host in ctx.
struct MockTables {
  static MockHost& of(void* ctx) { return *static_cast<MockHost*>(ctx); }

  // device
  static esp_stream compute(void* ctx) { return &of(ctx).compute_; }
  static esp_status stream_create(void* ctx, uint32_t, int32_t, esp_stream* out, esp_error*) {
    *out = &of(ctx).streams_.emplace_back();
    return ESP_OK;
  }
  static esp_status event_create(void* ctx, esp_event* out, esp_error*) {
    *out = &of(ctx).events_.emplace_back();
    return ESP_OK;
  }
  static esp_status record(void*, esp_event event, esp_stream stream, esp_error*) {
    event->seen = stream->seen;
    return ESP_OK;
  }
  static esp_status wait(void*, esp_stream stream, esp_event event, esp_error*) {
    stream->seen.insert(event->seen.begin(), event->seen.end());
    return ESP_OK;
  }
  static esp_status call(void*, esp_stream, void (*fn)(void*), const void* arg, uint64_t bytes, esp_error*) {
    std::vector<char> copy(static_cast<const char*>(arg), static_cast<const char*>(arg) + bytes);
    fn(copy.data());
    return ESP_OK;
  }
  static esp_status sync(void*, esp_stream, esp_error*) { return ESP_OK; }

  // memory
  static esp_status alloc(void* ctx, uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags, void** out,
                          esp_error*) {
    const uint64_t whole = (bytes + 255) / 256 * 256;
    *out = std::aligned_alloc(256, whole);
    std::memset(*out, 0, whole);
    of(ctx).allocations[static_cast<const char*>(*out)] = {bytes, place, tag, flags};
    return ESP_OK;
  }
  static void free(void* ctx, void* memory) {
    if (memory == nullptr) return;
    if (of(ctx).allocations.erase(static_cast<const char*>(memory)) == 0) of(ctx).violations.push_back("foreign free");
    std::free(memory);
  }

  // comm
  static esp_status data(void* ctx, esp_comm* out, int32_t* rank, int32_t* size) {
    *out = reinterpret_cast<esp_comm>(&of(ctx).world_);
    *rank = of(ctx).rank_;
    *size = of(ctx).world_.size();
    return ESP_OK;
  }
  static esp_status subset(void*, esp_comm, const int32_t*, uint32_t, esp_comm*, esp_error*) {
    return ESP_E_UNSUPPORTED;
  }
  static esp_status all_reduce(void* ctx, esp_comm, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op,
                               esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    MockHost::Op& item = host.ops[host.add_op("all_reduce", stream)];
    item.data = in;
    item.n = n;
    if (in != out) host.violations.push_back("all_reduce out of place");
    const auto* address = static_cast<const char*>(in);
    auto allocation = host.allocations.upper_bound(address);
    if (n > 0 && allocation == host.allocations.begin()) return ESP_E_INVALID;
    if (n > 0) {
      --allocation;
      if (address + n * ESP_DTYPE_BYTES(dtype) > allocation->first + allocation->second.bytes) return ESP_E_INVALID;
      if ((allocation->second.flags & ESP_MEM_COMM) == 0) host.violations.push_back("collective on other memory");
    }
    host.world_.all_reduce(host.rank_, out, n, dtype, op);
    return ESP_OK;
  }
  static esp_status reduce_scatter(void*, esp_comm, const void*, void*, uint64_t, esp_dtype, uint32_t, esp_stream,
                                   esp_error*) {
    return ESP_E_UNSUPPORTED;
  }
  static esp_status all_gather(void*, esp_comm, const void*, void*, uint64_t, esp_dtype, esp_stream, esp_error*) {
    return ESP_E_UNSUPPORTED;
  }

  // kernels
  static esp_status copy(void* ctx, void* dst, const void* src, uint64_t bytes, esp_stream stream, esp_error*) {
    of(ctx).add_op("copy", stream);
    std::memcpy(dst, src, bytes);
    return ESP_OK;
  }
  static esp_status zero(void* ctx, void* dst, uint64_t bytes, esp_stream stream, esp_error*) {
    of(ctx).add_op("zero", stream);
    if (bytes > 0) std::memset(dst, 0, bytes);
    return ESP_OK;
  }
  static esp_status convert(void* ctx, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n,
                            esp_stream stream, esp_error*) {
    of(ctx).add_op("convert", stream);
    for (uint64_t i = 0; i < n; ++i) from_float(dst, i, dst_t, to_float(src, i, src_t));
    return ESP_OK;
  }

  // update
  static const esp_update_desc* desc(void* ctx) { return &of(ctx).desc_; }
  static const esp_scalars* scalars(void*) { return nullptr; }
  static esp_status norm_add(void* ctx, const void* grad, uint64_t n, esp_dtype dtype, esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    host.add_op("norm_add", stream);
    host.norm_elements += n;
    for (uint64_t i = 0; i < n; ++i) {
      const double value = to_float(grad, i, dtype);
      host.sum_of_squares += value * value;
    }
    return ESP_OK;
  }
  static esp_status norm_finish(void* ctx, esp_comm, esp_stream stream, esp_error*) {
    of(ctx).add_op("norm_finish", stream);
    ++of(ctx).norms_finished;
    return ESP_OK;
  }
  static esp_status apply(void* ctx, const esp_range* const* ranges, uint32_t n, esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    MockHost::Op& op = host.ops[host.add_op("apply", stream)];
    if ((host.desc_.flags & ESP_UPDATE_BARRIER) != 0 && host.norms_finished == 0) {
      host.violations.push_back("apply before norm_finish");
    }
    for (uint32_t r = 0; r < n; ++r) {
      const esp_range& range = *ranges[r];
      op.params.push_back(range.param);
      for (uint64_t i = 0; i < range.n; ++i) {
        ++host.applied[range.param][range.offset + i];
        float step = to_float(range.grad, i, range.grad_t);
        if (host.desc_.n_slots > 0) {
          step += kMomentum * static_cast<const float*>(range.slots[0])[i];
          static_cast<float*>(range.slots[0])[i] = step;
        }
        const float weight = to_float(range.master, i, host.desc_.master) - kRate * step;
        from_float(range.master, i, host.desc_.master, weight);
        if (range.out != nullptr) from_float(range.out, i, range.out_t, weight);
      }
    }
    return ESP_OK;
  }

  static esp_status bind(void* ctx, const esp_bind* binds, uint32_t n, esp_error*) {
    MockHost& host = of(ctx);
    for (uint32_t i = 0; i < n; ++i) {
      (binds[i].what == ESP_BIND_PARAM ? host.params : host.gradients)[binds[i].param] = binds[i];
    }
    return ESP_OK;
  }

  static const void* service(void*, const char* id) {
    static const esp_device_v1 device = {
        sizeof(esp_device_v1), 0, compute, stream_create, event_create, record, wait, call, sync};
    static const esp_memory_v1 memory = {sizeof(esp_memory_v1), 0, alloc, free};
    static const esp_comm_v1 comm = {sizeof(esp_comm_v1), 0, data, subset, all_reduce, reduce_scatter, all_gather};
    static const esp_kernels_v1 kernels = {sizeof(esp_kernels_v1), 0, copy, zero, convert, nullptr, nullptr, nullptr};
    static const esp_update_v1 update = {sizeof(esp_update_v1), 0, desc, scalars, norm_add, norm_finish, apply};
    const std::map<std::string, const void*> tables = {{ESP_DEVICE_ID, &device},
                                                       {ESP_MEMORY_ID, &memory},
                                                       {ESP_COMM_ID, &comm},
                                                       {ESP_KERNELS_ID, &kernels},
                                                       {ESP_UPDATE_ID, &update}};
    const auto found = tables.find(id);
    return found == tables.end() ? nullptr : found->second;
  }
};

MockHost::MockHost(MockWorld& world, int rank, const MockUpdate& update) : world_(world), rank_(rank) {
  slot_ = {sizeof slot_, ESP_F32, "momentum"};
  slots_[0] = &slot_;
  desc_ = {sizeof desc_, update.flags, update.master, update.momentum ? 1u : 0u, slots_};
  host_ = {sizeof host_, 0, this, MockTables::service};
  binder_ = {sizeof binder_, 0, this, MockTables::bind};
}

MockHost::~MockHost() {
  for (const auto& [address, allocation] : allocations) std::free(const_cast<char*>(address));
}

void MockHost::fork() {
  grads_.seen = compute_.seen;
  for (esp_stream_s& stream : streams_) stream.seen.insert(compute_.seen.begin(), compute_.seen.end());
}

void MockHost::join() {
  compute_.seen.insert(grads_.seen.begin(), grads_.seen.end());
  for (const esp_stream_s& stream : streams_) compute_.seen.insert(stream.seen.begin(), stream.seen.end());
}

size_t MockHost::add_op(const std::string& what, esp_stream stream) {
  Op op;
  op.what = what;
  op.after = stream->seen;
  ops.push_back(std::move(op));
  stream->seen.insert(ops.size() - 1);
  return ops.size() - 1;
}
