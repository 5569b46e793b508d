#include "runtime/comm/queued_communicator.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "error.hpp"
#include "runtime/comm/lost_peer.hpp"
#include "runtime/device/cpu/blocks.hpp"
#include "runtime/device/dtype.hpp"

namespace esp::runtime {
namespace {

esp_dtype wire_type(esp_dtype dtype) { return dtype == ESP_F64 ? ESP_F64 : ESP_F32; }

// The mean as if divided in the type of the arithmetic and rounded once.
void finish(void* data, uint64_t n, esp_dtype wire, uint32_t op, int32_t size) {
  if (op != ESP_AVG) return;
  if (wire == ESP_F64) {
    loops::divide(n, static_cast<double>(size), static_cast<double*>(data));
  } else {
    loops::divide(n, static_cast<float>(size), static_cast<float*>(data));
  }
}

void widen(const void* from, esp_dtype dtype, uint64_t n, float* to) {
  for_blocks(0, n,
             [&](uint64_t first, uint64_t count) { load_block(at(from, dtype, first), dtype, count, to + first); });
}

void narrow(const float* from, uint64_t n, void* to, esp_dtype dtype) {
  for_blocks(0, n,
             [&](uint64_t first, uint64_t count) { store_block(from + first, count, at(to, dtype, first), dtype); });
}

}  // namespace

QueuedCommunicator::QueuedCommunicator(Device& device, std::shared_ptr<GlooStore> store,
                                       std::unique_ptr<GlooGroup> group, GroupFacts facts)
    : device_(device),
      store_(std::move(store)),
      group_(std::move(group)),
      facts_(std::move(facts)),
      last_(device.create_event()) {}

template <class Body>
void QueuedCommunicator::issue(const Call& call, Stream& stream, Body body) {
  device_.wait(stream, *last_);
  device_.enqueue(stream, [this, call, body = std::move(body)] {
    try {
      body();
    } catch (const std::exception& failure) {
      throw lost_peer(facts_.rank, facts_.members,
                      std::string(call.name) + " #" + std::to_string(call.number) + " of " + std::to_string(call.n) +
                          " " + name_of(call.dtype) + " elements in group '" + facts_.name + "'",
                      failure.what());
    }
  });
  device_.record(*last_, stream);
}

void QueuedCommunicator::all_reduce(const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op,
                                    Stream& stream) {
  ++counters_.all_reduce.calls;
  counters_.all_reduce.bytes += n * bytes_of(dtype);
  if (n == 0 || (size() == 1 && in == out)) return;
  const Call call{"all_reduce", n_calls_++, n, dtype, op};
  issue(call, stream, [=, this] { run_all_reduce(call, in, out); });
}

void QueuedCommunicator::reduce_scatter(const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op,
                                        Stream& stream) {
  ++counters_.reduce_scatter.calls;
  counters_.reduce_scatter.bytes += n_out * static_cast<uint64_t>(size()) * bytes_of(dtype);
  if (n_out == 0 || (size() == 1 && in == out)) return;
  const Call call{"reduce_scatter", n_calls_++, n_out, dtype, op};
  issue(call, stream, [=, this] { run_reduce_scatter(call, in, out); });
}

void QueuedCommunicator::all_gather(const void* in, void* out, uint64_t n_in, esp_dtype dtype, Stream& stream) {
  ++counters_.all_gather.calls;
  counters_.all_gather.bytes += n_in * static_cast<uint64_t>(size()) * bytes_of(dtype);
  if (n_in == 0 || (size() == 1 && in == out)) return;
  const Call call{"all_gather", n_calls_++, n_in, dtype, 0};
  issue(call, stream, [=, this] { run_all_gather(call, in, out); });
}

void QueuedCommunicator::run_all_reduce(const Call& call, const void* in, void* out) {
  const uint64_t bytes = call.n * bytes_of(call.dtype);
  if (group_ == nullptr) {
    std::memcpy(out, in, bytes);
    return;
  }
  const esp_dtype wire = wire_type(call.dtype);
  if (wire == call.dtype) {
    if (in != out) std::memcpy(out, in, bytes);
    group_->all_reduce(out, call.n, wire, call.op);
    return finish(out, call.n, wire, call.op, size());
  }
  auto* wide = static_cast<float*>(staging(call.n * sizeof(float)));
  widen(in, call.dtype, call.n, wide);
  group_->all_reduce(wide, call.n, wire, call.op);
  finish(wide, call.n, wire, call.op, size());
  narrow(wide, call.n, out, call.dtype);
}

void QueuedCommunicator::run_reduce_scatter(const Call& call, const void* in, void* out) {
  if (group_ == nullptr) {
    std::memcpy(out, in, call.n * bytes_of(call.dtype));
    return;
  }
  // Through a copy: the input must survive, and out may lie within it.
  const esp_dtype wire = wire_type(call.dtype);
  const uint64_t n_in = call.n * static_cast<uint64_t>(size());
  void* wide = staging((n_in + call.n) * bytes_of(wire));
  void* own = at(wide, wire, n_in);
  if (wire == call.dtype) {
    std::memcpy(wide, in, n_in * bytes_of(wire));
  } else {
    widen(in, call.dtype, n_in, static_cast<float*>(wide));
  }
  group_->reduce_scatter(wide, own, call.n, wire, call.op);
  finish(own, call.n, wire, call.op, size());
  if (wire == call.dtype) {
    std::memcpy(out, own, call.n * bytes_of(wire));
  } else {
    narrow(static_cast<const float*>(own), call.n, out, call.dtype);
  }
}

void QueuedCommunicator::run_all_gather(const Call& call, const void* in, void* out) {
  const uint64_t bytes = call.n * bytes_of(call.dtype);
  if (group_ == nullptr) {
    std::memcpy(out, in, bytes);
    return;
  }
  void* own = static_cast<char*>(out) + bytes * static_cast<uint64_t>(facts_.rank);
  if (in == own) {  // Gloo wants them apart
    void* apart = staging(bytes);
    std::memcpy(apart, in, bytes);
    in = apart;
  }
  group_->all_gather(in, out, bytes);
}

void* QueuedCommunicator::staging(uint64_t bytes) {
  const uint64_t words = (bytes + sizeof(double) - 1) / sizeof(double);
  if (staging_.size() < words) staging_.resize(words);
  return staging_.data();
}

std::unique_ptr<Communicator> QueuedCommunicator::subset(std::span<const int32_t> ranks) {
  GroupFacts facts{facts_.name + "/" + std::to_string(n_subsets_++), -1, {}};
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i] < 0 || ranks[i] >= size() || (i > 0 && ranks[i] <= ranks[i - 1])) {
      throw Error(ExitCode::kPlugin, "the members of a subset must be ascending ranks below " + std::to_string(size()));
    }
    if (ranks[i] == facts_.rank) facts.rank = static_cast<int32_t>(i);
    facts.members.push_back(facts_.members[static_cast<size_t>(ranks[i])]);
  }
  if (facts.rank < 0) return nullptr;
  std::unique_ptr<GlooGroup> group;
  if (facts.members.size() > 1) {
    try {
      group = store_->group(facts.name, facts.rank, static_cast<int32_t>(facts.members.size()));
    } catch (const std::exception& failure) {
      throw lost_peer(facts.rank, facts.members, "forming group '" + facts.name + "'", failure.what());
    }
  }
  return std::make_unique<QueuedCommunicator>(device_, store_, std::move(group), std::move(facts));
}

}  // namespace esp::runtime
