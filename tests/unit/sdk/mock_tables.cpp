// The tables of the mock host. Every function finds its host in ctx.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "mock_host.hpp"
#include "runtime/device/update_step.hpp"

struct MockTables {
  static MockHost& of(void* ctx) { return *static_cast<MockHost*>(ctx); }

  // device
  static esp_stream compute(void* ctx) { return &of(ctx).compute_; }
  static esp_status stream_create(void* ctx, uint32_t kind, int32_t, esp_stream* out, esp_error*) {
    *out = &of(ctx).streams_.emplace_back();
    (*out)->number = static_cast<uint32_t>(of(ctx).streams_.size()) + 1;
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
    event->before = stream->before;
    event->step = host.step_;
    event->on = stream;
    return ESP_OK;
  }
  static esp_status wait(void* ctx, esp_stream stream, esp_event event, esp_error*) {
    if (of(ctx).forgets(stream, *event) || of(ctx).swallows(stream, *event)) return ESP_OK;
    if (event->step != 0 && event->step != of(ctx).step_) of(ctx).violations.push_back("event of an earlier step");
    stream->seen.insert(event->seen);
    stream->before.insert(stream->before.end(), event->before.begin(), event->before.end());
    return ESP_OK;
  }
  static esp_status call(void* ctx, esp_stream stream, void (*fn)(void*), const void* arg, uint64_t bytes, esp_error*) {
    const std::vector<char> given(static_cast<const char*>(arg), static_cast<const char*>(arg) + bytes);
    of(ctx).enqueue("call", stream, [fn, given] {
      std::vector<char> copy = given;
      fn(copy.data());
    });
    return ESP_OK;
  }
  static esp_status sync(void* ctx, esp_stream, esp_error*) {
    of(ctx).sync();
    return ESP_OK;
  }

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
    of(ctx).sync();
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
  // A collective: what it does with the number under which ranks meet.
  using Meet = std::function<void(MockWorld& world, int rank, uint64_t number)>;
  struct Arrays {
    const void* in;
    uint64_t in_bytes;
    void* out;
    uint64_t out_bytes, n;
  };
  // Checks its memory and enqueues it.
  static esp_status collective(void* ctx, const char* name, const Arrays& arrays, esp_stream stream, const Meet& meet) {
    MockHost& host = of(ctx);
    const uint64_t number = host.n_meetings_++;
    const size_t op = host.enqueue(
        name, stream, [&host, meet, number] { meet(host.world_, host.rank_, host.meetings_before_ + number); });
    host.ops[op].data = arrays.in;
    host.ops[op].n = arrays.n;
    host.reads(op, arrays.in, arrays.in_bytes, stream);
    host.writes(op, arrays.out, arrays.out_bytes, stream);
    for (const auto* allocation :
         {host.allocation_of(arrays.in, arrays.in_bytes), host.allocation_of(arrays.out, arrays.out_bytes)}) {
      if (arrays.n > 0 && allocation == nullptr) return ESP_E_INVALID;
      if (arrays.n > 0 && (allocation->second.flags & ESP_MEM_COMM) == 0)
        host.violations.push_back("collective on other memory");
    }
    return ESP_OK;
  }
  static esp_status all_reduce(void* ctx, esp_comm, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op,
                               esp_stream stream, esp_error*) {
    if (in != out) of(ctx).violations.push_back("all_reduce out of place");
    const uint64_t bytes = n * ESP_DTYPE_BYTES(dtype);
    const Reduction how = reduction(of(ctx), op);
    return collective(ctx, "all_reduce", {in, bytes, out, bytes, n}, stream,
                      [=](MockWorld& world, int rank, uint64_t number) {
                        how.spoil(in, bytes);
                        world.all_reduce(rank, number, in, out, n, dtype, how.op);
                      });
  }
  static esp_status reduce_scatter(void* ctx, esp_comm, const void* in, void* out, uint64_t n_out, esp_dtype dtype,
                                   uint32_t op, esp_stream stream, esp_error*) {
    const uint64_t bytes = n_out * ESP_DTYPE_BYTES(dtype), all = bytes * static_cast<uint64_t>(of(ctx).world_.size());
    check_place(of(ctx), in, all, out, bytes);
    const Reduction how = reduction(of(ctx), op);
    return collective(ctx, "reduce_scatter", {in, all, out, bytes, n_out}, stream,
                      [=](MockWorld& world, int rank, uint64_t number) {
                        how.spoil(in, all);
                        world.reduce_scatter(rank, number, in, out, n_out, dtype, how.op);
                      });
  }
  static esp_status all_gather(void* ctx, esp_comm, const void* in, void* out, uint64_t n_in, esp_dtype dtype,
                               esp_stream stream, esp_error*) {
    const uint64_t bytes = n_in * ESP_DTYPE_BYTES(dtype), all = bytes * static_cast<uint64_t>(of(ctx).world_.size());
    check_place(of(ctx), out, all, in, bytes);
    return collective(
        ctx, "all_gather", {in, bytes, out, all, n_in}, stream,
        [=](MockWorld& world, int rank, uint64_t number) { world.all_gather(rank, number, in, out, n_in, dtype); });
  }
  // What a strategy with the mistake asks for.
  struct Reduction {
    uint32_t op;
    bool drops_own_part;
    void spoil(const void* in, uint64_t bytes) const {
      if (drops_own_part) std::memset(const_cast<void*>(in), 0, bytes);
    }
  };
  static Reduction reduction(MockHost& host, uint32_t op) {
    const bool drops = host.mistake == Mistake::kRankDropped && host.rank_ == 1 && host.index_ == 2 && !host.reduced_;
    host.reduced_ = true;
    return {host.mistake == Mistake::kSumForMean ? ESP_SUM : op, drops};
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
    const size_t op = of(ctx).enqueue("copy", stream, [=] { std::memcpy(dst, src, bytes); });
    of(ctx).reads(op, src, bytes, stream, true);
    of(ctx).writes(op, dst, bytes, stream, true);
    return ESP_OK;
  }
  static esp_status zero(void* ctx, void* dst, uint64_t bytes, esp_stream stream, esp_error*) {
    const size_t op = of(ctx).enqueue("zero", stream, [=] {
      if (bytes > 0) std::memset(dst, 0, bytes);
    });
    of(ctx).writes(op, dst, bytes, stream);
    return ESP_OK;
  }
  static esp_status convert(void* ctx, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n,
                            esp_stream stream, esp_error*) {
    const size_t op = of(ctx).enqueue("convert", stream, [=] {
      for (uint64_t i = 0; i < n; ++i) from_float(dst, i, dst_t, to_float(src, i, src_t));
    });
    of(ctx).reads(op, src, n * ESP_DTYPE_BYTES(src_t), stream);
    of(ctx).writes(op, dst, n * ESP_DTYPE_BYTES(dst_t), stream);
    return ESP_OK;
  }
  static esp_status axpby(void* ctx, uint64_t n, float a, const float*, const void* x, esp_dtype x_t, float b,
                          const float*, void* y, esp_dtype y_t, esp_stream stream, esp_error*) {
    const float kept = of(ctx).mistake == Mistake::kAccumulationOverwrites ? 0.0f : b;
    const size_t op = of(ctx).enqueue("axpby", stream, [=] {
      for (uint64_t i = 0; i < n; ++i) from_float(y, i, y_t, a * to_float(x, i, x_t) + kept * to_float(y, i, y_t));
    });
    of(ctx).reads(op, x, n * ESP_DTYPE_BYTES(x_t), stream);
    of(ctx).writes(op, y, n * ESP_DTYPE_BYTES(y_t), stream);
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
    double* part = &host.norm_memory_.emplace_back();  // of its own: it may run beside others
    const size_t op = host.enqueue("norm_add", stream, [=] {
      *part = 0;
      for (uint64_t i = 0; i < n; ++i) {
        const double value = to_float(grad, i, dtype);
        *part += value * value;
      }
    });
    host.reads(op, grad, n * ESP_DTYPE_BYTES(dtype), stream);
    host.norm_elements += n;
    host.norm_parts_.push_back(part);
    host.norm_ops_.push_back(op);
    return ESP_OK;
  }
  static esp_status norm_finish(void* ctx, esp_comm sharded_over, esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    if (host.mistake == Mistake::kLocalNorm) sharded_over = nullptr;
    if (sharded_over == nullptr && host.norm_elements - host.norm_elements_before != host.trained_elements) {
      host.violations.push_back("norm of a part passes as the whole");
    }
    host.norm_is_sharded = sharded_over != nullptr;
    ++host.norms_finished;
    const uint64_t number = host.norm_is_sharded ? host.n_meetings_++ : 0;
    const bool sharded = host.norm_is_sharded;
    if (host.mistake == Mistake::kNormFinishedEarly) host.norm_parts_.resize(host.norm_parts_.size() / 2);
    stream->before.insert(stream->before.end(), host.norm_ops_.begin(), host.norm_ops_.end());
    host.norm_finish_op_ = host.enqueue("norm_finish", stream, [&host, sharded, number, parts = host.norm_parts_] {
      double sum = 0;
      for (const double* part : parts) sum += *part;
      if (sharded) sum = host.world_.sum(host.rank_, host.meetings_before_ + number, sum);
      host.block_.sum = sum;
      esp::runtime::finish_numbers(host.block_, host.rules_);
    });
    return ESP_OK;
  }
  static esp_status apply(void* ctx, const esp_range* const* ranges, uint32_t n, esp_stream stream, esp_error*) {
    MockHost& host = of(ctx);
    const bool waits = (host.desc_.flags & ESP_UPDATE_BARRIER) != 0;
    if (waits && host.norms_finished == 0) host.violations.push_back("apply before norm_finish");
    if (host.norms_finished > 0) stream->before.push_back(host.norm_finish_op_);
    std::vector<esp_range> taken;
    for (uint32_t r = 0; r < n; ++r) {
      taken.push_back(*ranges[r]);
      if (host.mistake == Mistake::kStaleAfterUpdate) taken.back().out = nullptr;
      for (uint64_t i = 0; i < taken.back().n; ++i) ++host.applied[taken.back().param][taken.back().offset + i];
    }
    const size_t number = host.enqueue("apply", stream, [&host, taken] {
      for (const esp_range& range : taken) update(host, range);
    });
    for (const esp_range& range : taken) {
      host.ops[number].params.push_back(range.param);
      host.reads(number, range.grad, range.n * ESP_DTYPE_BYTES(range.grad_t), stream);
      host.writes(number, range.master, range.n * ESP_DTYPE_BYTES(host.desc_.master), stream);
      if (host.desc_.n_slots > 0) host.writes(number, range.slots[0], range.n * sizeof(float), stream);
      if (range.out != nullptr) host.writes(number, range.out, range.n * ESP_DTYPE_BYTES(range.out_t), stream);
    }
    return ESP_OK;
  }
  static void update(const MockHost& host, const esp_range& range) {
    if (host.rules_.barrier && host.block_.found_inf != 0) return;
    const auto coef = static_cast<float>(host.block_.exact_coef);
    for (uint64_t i = 0; i < range.n; ++i) {
      float step = to_float(range.grad, i, range.grad_t) * coef;
      if (host.desc_.n_slots > 0) {
        step += MockHost::kMomentum * static_cast<const float*>(range.slots[0])[i];
        static_cast<float*>(range.slots[0])[i] = step;
      }
      const float weight = to_float(range.master, i, host.desc_.master) - MockHost::kRate * step;
      from_float(range.master, i, host.desc_.master, weight);
      if (range.out != nullptr) from_float(range.out, i, range.out_t, weight);
    }
  }

  static esp_status bind(void* ctx, const esp_bind* binds, uint32_t n, esp_error*) {
    MockHost& host = of(ctx);
    const bool late = host.mistake == Mistake::kArmedOnce && n > 0 && binds[0].what == ESP_BIND_GRAD &&
                      !host.armed_.insert(binds[0].param).second;
    for (uint32_t i = 0; i < n; ++i) {
      (binds[i].what == ESP_BIND_PARAM ? host.params : host.gradients)[binds[i].param] = binds[i];
      if (binds[i].mode == ESP_WRITE_NOW && !late) host.unwritten.insert(binds[i].param);
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
    static const std::map<std::string, const void*> tables = {{ESP_DEVICE_ID, &device},
                                                              {ESP_MEMORY_ID, &memory},
                                                              {ESP_COMM_ID, &comm},
                                                              {ESP_KERNELS_ID, &kernels},
                                                              {ESP_UPDATE_ID, &update}};
    const auto found = tables.find(id);
    return found == tables.end() ? nullptr : found->second;
  }
};

const void* mock_service(void* ctx, const char* id) { return MockTables::service(ctx, id); }
esp_status mock_bind(void* ctx, const esp_bind* binds, uint32_t n, esp_error* error) {
  return MockTables::bind(ctx, binds, n, error);
}
