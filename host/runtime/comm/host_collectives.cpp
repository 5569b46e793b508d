#include "runtime/comm/host_collectives.hpp"

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
void finish(void* data, uint64_t n, esp_dtype wire, uint32_t op, uint64_t size) {
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

const char* name_of(Collective kind) {
  if (kind == Collective::kAllReduce) return "all_reduce";
  return kind == Collective::kReduceScatter ? "reduce_scatter" : "all_gather";
}

}  // namespace

GroupFacts subset_facts(const GroupFacts& parent, std::span<const int32_t> ranks, uint64_t number) {
  GroupFacts facts{parent.name + "/" + std::to_string(number), -1, {}};
  const auto size = static_cast<int32_t>(parent.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i] < 0 || ranks[i] >= size || (i > 0 && ranks[i] <= ranks[i - 1])) {
      throw Error(ExitCode::kPlugin, "the members of a subset must be ascending ranks below " + std::to_string(size));
    }
    if (ranks[i] == parent.rank) facts.rank = static_cast<int32_t>(i);
    facts.members.push_back(parent.members[static_cast<size_t>(ranks[i])]);
  }
  return facts;
}

uint64_t input_bytes(const CollectiveCall& call, uint64_t size) {
  return call.n * bytes_of(call.dtype) * (call.kind == Collective::kReduceScatter ? size : 1);
}

uint64_t output_bytes(const CollectiveCall& call, uint64_t size) {
  return call.n * bytes_of(call.dtype) * (call.kind == Collective::kAllGather ? size : 1);
}

std::string describe(const CollectiveCall& call, const GroupFacts& group) {
  return std::string(name_of(call.kind)) + " #" + std::to_string(call.number) + " of " + std::to_string(call.n) + " " +
         name_of(call.dtype) + " elements in group '" + group.name + "'";
}

HostCollectives::HostCollectives(std::shared_ptr<GlooStore> store, std::unique_ptr<GlooGroup> group, GroupFacts facts)
    : store_(std::move(store)), group_(std::move(group)), facts_(std::move(facts)) {}

void HostCollectives::run(const CollectiveCall& call, const void* in, void* out) {
  if (group_ == nullptr) {
    if (in != out) std::memcpy(out, in, call.n * bytes_of(call.dtype));
    return;
  }
  try {
    switch (call.kind) {
      case Collective::kAllReduce:
        return all_reduce(call, in, out);
      case Collective::kReduceScatter:
        return reduce_scatter(call, in, out);
      case Collective::kAllGather:
        return all_gather(call, in, out);
    }
  } catch (const std::exception& failure) {
    throw lost_peer(facts_.rank, facts_.members, describe(call, facts_), failure.what());
  }
}

void HostCollectives::all_reduce(const CollectiveCall& call, const void* in, void* out) {
  const esp_dtype wire = wire_type(call.dtype);
  if (wire == call.dtype) {
    if (in != out) std::memcpy(out, in, call.n * bytes_of(wire));
    group_->all_reduce(out, call.n, wire, call.op);
    return finish(out, call.n, wire, call.op, facts_.size());
  }
  auto* wide = static_cast<float*>(staging(call.n * sizeof(float)));
  widen(in, call.dtype, call.n, wide);
  group_->all_reduce(wide, call.n, wire, call.op);
  finish(wide, call.n, wire, call.op, facts_.size());
  narrow(wide, call.n, out, call.dtype);
}

void HostCollectives::reduce_scatter(const CollectiveCall& call, const void* in, void* out) {
  // Through a copy: the input must survive, and out may lie within it.
  const esp_dtype wire = wire_type(call.dtype);
  const uint64_t n_in = call.n * facts_.size();
  void* wide = staging((n_in + call.n) * bytes_of(wire));
  void* own = at(wide, wire, n_in);
  if (wire == call.dtype) {
    std::memcpy(wide, in, n_in * bytes_of(wire));
  } else {
    widen(in, call.dtype, n_in, static_cast<float*>(wide));
  }
  group_->reduce_scatter(wide, own, call.n, wire, call.op);
  finish(own, call.n, wire, call.op, facts_.size());
  if (wire == call.dtype) {
    std::memcpy(out, own, call.n * bytes_of(wire));
  } else {
    narrow(static_cast<const float*>(own), call.n, out, call.dtype);
  }
}

void HostCollectives::all_gather(const CollectiveCall& call, const void* in, void* out) {
  const uint64_t bytes = call.n * bytes_of(call.dtype);
  void* own = static_cast<char*>(out) + bytes * static_cast<uint64_t>(facts_.rank);
  if (in == own) {  // Gloo wants them apart
    void* apart = staging(bytes);
    std::memcpy(apart, in, bytes);
    in = apart;
  }
  group_->all_gather(in, out, bytes);
}

void* HostCollectives::staging(uint64_t bytes) {
  const uint64_t words = (bytes + sizeof(double) - 1) / sizeof(double);
  if (staging_.size() < words) staging_.resize(words);
  return staging_.data();
}

std::unique_ptr<HostCollectives> HostCollectives::subset(std::span<const int32_t> ranks) {
  GroupFacts facts = subset_facts(facts_, ranks, n_subsets_++);
  if (facts.rank < 0) return nullptr;
  std::unique_ptr<GlooGroup> group;
  if (facts.size() > 1) {
    try {
      group = store_->group(facts.name, facts.rank, static_cast<int32_t>(facts.size()));
    } catch (const std::exception& failure) {
      throw lost_peer(facts.rank, facts.members, "forming group '" + facts.name + "'", failure.what());
    }
  }
  return std::make_unique<HostCollectives>(store_, std::move(group), std::move(facts));
}

}  // namespace esp::runtime
