#include "mock_host.hpp"

#include <cmath>
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

template <class Take>
void MockWorld::meet(int rank, const void* in, uint64_t n, esp_dtype dtype, uint32_t op, const Take& take) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return open_; });
  std::vector<float>& part = parts_[static_cast<size_t>(rank)];
  part.resize(n);
  for (uint64_t i = 0; i < n; ++i) part[i] = to_float(in, i, dtype);
  if (++arrived_ == parts_.size()) {
    sum_ = parts_[0];
    for (size_t r = 1; r < parts_.size(); ++r) {
      if (op == 0) sum_.insert(sum_.end(), parts_[r].begin(), parts_[r].end());
      for (uint64_t i = 0; op != 0 && i < n; ++i) sum_[i] += parts_[r].at(i);
    }
    for (uint64_t i = 0; op == ESP_AVG && i < n; ++i) sum_[i] /= static_cast<float>(parts_.size());
    open_ = false;
    left_ = 0;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return !open_; });
  take(sum_);
  if (++left_ == parts_.size()) {
    arrived_ = 0;
    open_ = true;
    changed_.notify_all();
  }
}

void MockWorld::all_reduce(int rank, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op) {
  meet(rank, in, n, dtype, op, [&](const std::vector<float>& sum) {
    for (uint64_t i = 0; i < n; ++i) from_float(out, i, dtype, sum[i]);
  });
}

void MockWorld::reduce_scatter(int rank, const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op) {
  meet(rank, in, n_out * parts_.size(), dtype, op, [&](const std::vector<float>& sum) {
    for (uint64_t i = 0; i < n_out; ++i) from_float(out, i, dtype, sum[static_cast<uint64_t>(rank) * n_out + i]);
  });
}

void MockWorld::all_gather(int rank, const void* in, void* out, uint64_t n_in, esp_dtype dtype) {
  meet(rank, in, n_in, dtype, 0, [&](const std::vector<float>& all) {
    for (uint64_t i = 0; i < all.size(); ++i) from_float(out, i, dtype, all[i]);
  });
}

// The tables. Every function finds its host in ctx.
struct MockTables {
  static MockHost& of(void* ctx) { return *static_cast<MockHost*>(ctx); }

  // device
  static esp_stream compute(void* ctx) { return &of(ctx).compute_; }
  static esp_status stream_create(void* ctx, uint32_t kind, int32_t, esp_stream* out, esp_error*) {
    *out = &of(ctx).streams_.emplace_back();
    (*out)->place = kind == ESP_STREAM_CPU ? ESP_PINNED : ESP_DEVICE;
    return ESP_OK;
  }
  static esp_status event_create(void* ctx, esp_event* out, esp_error*) {
    *out = &of(ctx).events_.emplace_back();
    return ESP_OK;
  }
  static esp_status record(void* ctx, esp_event event, esp_stream stream, esp_error*) {
    const MockHost& host = of(ctx);
    if (host.mistake == Mistake::kWaitsAcrossSteps && host.step_ > 2) return ESP_OK;
    if (host.mistake == Mistake::kReleasedOnCompute && stream->role == esp_stream_s::kSide) stream = &of(ctx).compute_;
    event->seen = stream->seen;
    event->step = host.step_;
    event->on = stream;
    return ESP_OK;
  }
  static esp_status wait(void* ctx, esp_stream stream, esp_event event, esp_error*) {
    if (of(ctx).forgets(stream, *event)) return ESP_OK;
    if (event->step != 0 && event->step != of(ctx).step_) of(ctx).violations.push_back("event of an earlier step");
    stream->seen.insert(event->seen);
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
    of(ctx).allocated[place][tag] += whole;
    uint64_t living = 0;
    for (const auto& [address, allocation] : of(ctx).allocations) {
      if (allocation.place == place) living += (allocation.bytes + 255) / 256 * 256;
    }
    of(ctx).peak[place] = std::max(of(ctx).peak[place], living);
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
    *size = of(ctx).world_.size();
    *rank = of(ctx).mistake == Mistake::kOtherRanksPart ? (of(ctx).rank_ + 1) % *size : of(ctx).rank_;
    return ESP_OK;
  }
  static esp_status subset(void*, esp_comm, const int32_t*, uint32_t, esp_comm*, esp_error*) {
    return ESP_E_UNSUPPORTED;
  }
  // Notes a collective and checks its memory, then lets the ranks meet.
  template <class Meet>
  static esp_status collective(void* ctx, const char* name, const void* in, uint64_t in_bytes, void* out,
                               uint64_t out_bytes, uint64_t n, esp_stream stream, const Meet& meet) {
    MockHost& host = of(ctx);
    const size_t op = host.add_op(name, stream);
    host.ops[op].data = in;
    host.ops[op].n = n;
    host.reads(op, in, in_bytes, stream);
    host.writes(op, out, out_bytes, stream);
    for (const auto* allocation : {host.allocation_of(in, in_bytes), host.allocation_of(out, out_bytes)}) {
      if (n > 0 && allocation == nullptr) return ESP_E_INVALID;
      if (n > 0 && (allocation->second.flags & ESP_MEM_COMM) == 0)
        host.violations.push_back("collective on other memory");
    }
    meet(host.world_, host.rank_);
    return ESP_OK;
  }
  static esp_status all_reduce(void* ctx, esp_comm, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op,
                               esp_stream stream, esp_error*) {
    if (in != out) of(ctx).violations.push_back("all_reduce out of place");
    op = reduction(of(ctx), in, n, dtype, op);
    const uint64_t bytes = n * ESP_DTYPE_BYTES(dtype);
    return collective(ctx, "all_reduce", in, bytes, out, bytes, n, stream,
                      [&](MockWorld& world, int rank) { world.all_reduce(rank, in, out, n, dtype, op); });
  }
  static esp_status reduce_scatter(void* ctx, esp_comm, const void* in, void* out, uint64_t n_out, esp_dtype dtype,
                                   uint32_t op, esp_stream stream, esp_error*) {
    const uint64_t bytes = n_out * ESP_DTYPE_BYTES(dtype), ranks = static_cast<uint64_t>(of(ctx).world_.size());
    check_place(of(ctx), in, bytes * ranks, out, bytes);
    op = reduction(of(ctx), in, n_out * ranks, dtype, op);
    return collective(ctx, "reduce_scatter", in, bytes * ranks, out, bytes, n_out, stream,
                      [&](MockWorld& world, int rank) { world.reduce_scatter(rank, in, out, n_out, dtype, op); });
  }
  static esp_status all_gather(void* ctx, esp_comm, const void* in, void* out, uint64_t n_in, esp_dtype dtype,
                               esp_stream stream, esp_error*) {
    const uint64_t bytes = n_in * ESP_DTYPE_BYTES(dtype), ranks = static_cast<uint64_t>(of(ctx).world_.size());
    check_place(of(ctx), out, bytes * ranks, in, bytes);
    return collective(ctx, "all_gather", in, bytes, out, bytes * ranks, n_in, stream,
                      [&](MockWorld& world, int rank) { world.all_gather(rank, in, out, n_in, dtype); });
  }
  // The operator that a strategy with the mistake asks for.
  static uint32_t reduction(MockHost& host, const void* in, uint64_t n, esp_dtype dtype, uint32_t op) {
    if (host.mistake == Mistake::kRankDropped && host.rank_ == 1 && !host.reduced_) {
      std::memset(const_cast<void*>(in), 0, n * ESP_DTYPE_BYTES(dtype));
    }
    host.reduced_ = true;
    return host.mistake == Mistake::kSumForMean ? ESP_SUM : op;
  }
  // In place means: at this rank's place.
  static void check_place(MockHost& host, const void* whole, uint64_t whole_bytes, const void* part, uint64_t bytes) {
    const auto* begin = static_cast<const char*>(whole);
    const auto* own = static_cast<const char*>(part);
    const bool within = own < begin + whole_bytes && begin < own + bytes;
    if (within && own != begin + static_cast<uint64_t>(host.rank_) * bytes) {
      host.violations.push_back("in place at another rank's part");
    }
  }

  // kernels
  static esp_status copy(void* ctx, void* dst, const void* src, uint64_t bytes, esp_stream stream, esp_error*) {
    const size_t op = of(ctx).add_op("copy", stream);
    of(ctx).reads(op, src, bytes, stream, true);
    of(ctx).writes(op, dst, bytes, stream, true);
    std::memcpy(dst, src, bytes);
    return ESP_OK;
  }
  static esp_status zero(void* ctx, void* dst, uint64_t bytes, esp_stream stream, esp_error*) {
    of(ctx).writes(of(ctx).add_op("zero", stream), dst, bytes, stream);
    if (bytes > 0) std::memset(dst, 0, bytes);
    return ESP_OK;
  }
  static esp_status convert(void* ctx, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n,
                            esp_stream stream, esp_error*) {
    const size_t op = of(ctx).add_op("convert", stream);
    of(ctx).reads(op, src, n * ESP_DTYPE_BYTES(src_t), stream);
    of(ctx).writes(op, dst, n * ESP_DTYPE_BYTES(dst_t), stream);
    for (uint64_t i = 0; i < n; ++i) from_float(dst, i, dst_t, to_float(src, i, src_t));
    return ESP_OK;
  }
  static esp_status axpby(void* ctx, uint64_t n, float a, const float*, const void* x, esp_dtype x_t, float b,
                          const float*, void* y, esp_dtype y_t, esp_stream stream, esp_error*) {
    if (of(ctx).mistake == Mistake::kAccumulationOverwrites) b = 0.0f;
    const size_t op = of(ctx).add_op("axpby", stream);
    of(ctx).reads(op, x, n * ESP_DTYPE_BYTES(x_t), stream);
    of(ctx).writes(op, y, n * ESP_DTYPE_BYTES(y_t), stream);
    for (uint64_t i = 0; i < n; ++i) from_float(y, i, y_t, a * to_float(x, i, x_t) + b * to_float(y, i, y_t));
    return ESP_OK;
  }

  // update
  static const esp_update_desc* desc(void* ctx) {
    MockHost& host = of(ctx);
    host.told_ = host.desc_;
    if (host.mistake == Mistake::kBarrierIgnored) host.told_.flags &= ~ESP_UPDATE_BARRIER;
    return &host.told_;
  }
  static const esp_scalars* scalars(void*) { return nullptr; }
  static esp_status norm_add(void* ctx, const void* grad, uint64_t n, esp_dtype dtype, esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    host.reads(host.add_op("norm_add", stream), grad, n * ESP_DTYPE_BYTES(dtype), stream);
    host.norm_elements += n;
    for (uint64_t i = 0; i < n; ++i) {
      const double value = to_float(grad, i, dtype);
      host.sum_of_squares += value * value;
    }
    return ESP_OK;
  }
  static esp_status norm_finish(void* ctx, esp_comm sharded_over, esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    if (host.mistake == Mistake::kLocalNorm) sharded_over = nullptr;
    if (sharded_over == nullptr && host.norm_elements - host.norm_elements_before != host.trained_elements) {
      host.violations.push_back("norm of a part passes as the whole");
    }
    of(ctx).norm_is_sharded = sharded_over != nullptr;
    of(ctx).add_op("norm_finish", stream);
    ++of(ctx).norms_finished;
    return ESP_OK;
  }
  static esp_status apply(void* ctx, const esp_range* const* ranges, uint32_t n, esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    const size_t number = host.add_op("apply", stream);
    MockHost::Op& op = host.ops[number];
    if ((host.desc_.flags & ESP_UPDATE_BARRIER) != 0 && host.norms_finished == 0) {
      host.violations.push_back("apply before norm_finish");
    }
    for (uint32_t r = 0; r < n; ++r) {
      esp_range range = *ranges[r];
      if (host.mistake == Mistake::kStaleAfterUpdate) range.out = nullptr;
      op.params.push_back(range.param);
      host.reads(number, range.grad, range.n * ESP_DTYPE_BYTES(range.grad_t), stream);
      host.writes(number, range.master, range.n * ESP_DTYPE_BYTES(host.desc_.master), stream);
      if (host.desc_.n_slots > 0) host.writes(number, range.slots[0], range.n * sizeof(float), stream);
      if (range.out != nullptr) host.writes(number, range.out, range.n * ESP_DTYPE_BYTES(range.out_t), stream);
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
    const bool late = host.mistake == Mistake::kArmedOnce && n > 0 && binds[0].what == ESP_BIND_GRAD &&
                      !host.armed_.insert(binds[0].param).second;
    for (uint32_t i = 0; i < n; ++i) {
      (binds[i].what == ESP_BIND_PARAM ? host.params : host.gradients)[binds[i].param] = binds[i];
      if (binds[i].mode == ESP_WRITE_NOW && !late) {
        host.unwritten.insert(binds[i].param);
        // What a model forgets to write must not pass for zero.
        for (uint64_t k = 0; k < host.numel.at(binds[i].param); ++k) from_float(binds[i].data, k, binds[i].dtype, NAN);
      }
      if (reinterpret_cast<uintptr_t>(binds[i].data) % 256 != 0) host.violations.push_back("bind is not aligned");
    }
    return ESP_OK;
  }

  static const void* service(void*, const char* id) {
    static const esp_device_v1 device = {
        sizeof(esp_device_v1), 0, compute, stream_create, event_create, record, wait, call, sync};
    static const esp_memory_v1 memory = {sizeof(esp_memory_v1), 0, alloc, free};
    static const esp_comm_v1 comm = {sizeof(esp_comm_v1), 0, data, subset, all_reduce, reduce_scatter, all_gather};
    static const esp_kernels_v1 kernels = {sizeof(esp_kernels_v1), 0, copy, zero, convert, axpby, nullptr, nullptr};
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
  compute_.role = esp_stream_s::kCompute;
  grads_.role = esp_stream_s::kGrads;
}

MockHost::~MockHost() {
  for (const auto& [address, allocation] : allocations) std::free(const_cast<char*>(address));
}

void MockHost::fork() {
  ++step_;
  reduced_ = false;
  armed_.clear();
  norm_elements_before = norm_elements;
  accesses_.clear();
  grads_.seen = compute_.seen;
  for (esp_stream_s& stream : streams_) stream.seen.insert(compute_.seen);
}

bool MockHost::forgets(esp_stream waiting, const esp_event_s& event) const {
  if (event.on == nullptr) return false;
  const bool to_cpu = waiting->place == ESP_PINNED, from_cpu = event.on->place == ESP_PINNED;
  switch (mistake) {
    case Mistake::kNoWaitForGradients:
      return event.on->role == esp_stream_s::kGrads;
    case Mistake::kNoWaitForModel:
      return event.on->role == esp_stream_s::kCompute && waiting->role == esp_stream_s::kSide;
    case Mistake::kNoWaitForGathered:
      return waiting->role == esp_stream_s::kCompute;
    case Mistake::kNoWaitForCopyToHost:
      return to_cpu && event.on->role == esp_stream_s::kSide;
    case Mistake::kNoWaitForCpuUpdate:
      return from_cpu;
    default:
      return false;
  }
}

void MockHost::join() {
  compute_.seen.insert(grads_.seen);
  for (const esp_stream_s& stream : streams_) compute_.seen.insert(stream.seen);
}

const std::pair<const char* const, MockHost::Allocation>* MockHost::allocation_of(const void* data,
                                                                                  uint64_t bytes) const {
  const auto* address = static_cast<const char*>(data);
  auto allocation = allocations.upper_bound(address);
  if (allocation == allocations.begin()) return nullptr;
  --allocation;
  return address + bytes <= allocation->first + allocation->second.bytes ? &*allocation : nullptr;
}

void MockHost::touch(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any, bool writes) {
  if (bytes == 0) return;
  const auto* allocation = allocation_of(data, bytes);
  if (allocation == nullptr) {
    violations.push_back(ops[op].what + " touches memory outside allocations");
    return;
  }
  if (!any && allocation->second.place != stream->place)
    violations.push_back(ops[op].what + " touches the other place");
  const auto* begin = static_cast<const char*>(data);
  for (const Access& earlier : accesses_) {
    const bool conflicts = earlier.begin < begin + bytes && begin < earlier.end && (writes || earlier.writes);
    if (conflicts && earlier.op != op && ops[op].after.count(earlier.op) == 0) {
      violations.push_back(ops[op].what + " may run before " + ops[earlier.op].what + " (same memory)");
    }
  }
  accesses_.push_back({begin, begin + bytes, op, writes});
}

size_t MockHost::add_op(const std::string& what, esp_stream stream) {
  Op op;
  op.what = what;
  op.after = stream->seen;
  ops.push_back(std::move(op));
  stream->seen.insert(ops.size() - 1);
  return ops.size() - 1;
}
