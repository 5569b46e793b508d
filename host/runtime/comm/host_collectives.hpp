// Collectives on memory that the CPU can touch, blocking, over a Gloo group that reduces fp32 and fp64.
#pragma once

#include <espalier/host.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/gloo_group.hpp"

namespace esp::runtime {

struct GroupFacts {
  std::string name;                 // also in the store, so unique in the run
  int32_t rank = 0;                 // within the group
  std::vector<int32_t> members{0};  // ranks in the world

  uint64_t size() const { return members.size(); }
};

// Ranks within `parent`, ascending; rank is -1 where this rank is not among them. number: of this subset of the parent.
// Throws Error(kPlugin) for members that are not what they must be.
GroupFacts subset_facts(const GroupFacts& parent, std::span<const int32_t> ranks, uint64_t number);

enum class Collective { kAllReduce, kReduceScatter, kAllGather };

struct CollectiveCall {
  Collective kind;
  uint64_t number;  // of the group's calls
  uint64_t n;       // elements: of either side, of the output, of the input, by kind
  esp_dtype dtype;
  uint32_t op;  // ESP_SUM, ...; 0 for kAllGather
};
uint64_t input_bytes(const CollectiveCall& call, uint64_t size);
uint64_t output_bytes(const CollectiveCall& call, uint64_t size);
std::string describe(const CollectiveCall& call, const GroupFacts& group);  // "all_reduce #3 of 8 F32 elements in ..."

class HostCollectives {
 public:
  // store, group: NULL for one rank.
  HostCollectives(std::shared_ptr<GlooStore> store, std::unique_ptr<GlooGroup> group, GroupFacts facts);

  const GroupFacts& facts() const { return facts_; }

  // One thread at a time, the same calls in the same order on all members. In place as in Communicator. Half types are
  // reduced in fp32 and rounded once. Throws Error(kPeerLost) with collective and rank.
  void run(const CollectiveCall& call, const void* in, void* out);

  // All members call it, in the same order; NULL for those not in it. Throws Error(kPeerLost).
  std::unique_ptr<HostCollectives> subset(std::span<const int32_t> ranks);

 private:
  void all_reduce(const CollectiveCall& call, const void* in, void* out);
  void reduce_scatter(const CollectiveCall& call, const void* in, void* out);
  void all_gather(const CollectiveCall& call, const void* in, void* out);
  void* staging(uint64_t bytes);

  std::shared_ptr<GlooStore> store_;
  std::unique_ptr<GlooGroup> group_;
  GroupFacts facts_;
  uint64_t n_subsets_ = 0;
  std::vector<double> staging_;  // grows to the largest collective that needs it
};

}  // namespace esp::runtime
