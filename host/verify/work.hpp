// Enqueued work: hooks only record it; it runs later, in any order that events allow.
#pragma once

#include <espalier/view.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "verify/finding.hpp"

namespace esp::verify {

// Indices of operations of one step.
class OpSet {
 public:
  bool contains(size_t op) const { return op < bits_.size() && bits_[op]; }
  void insert(size_t op) {
    if (op >= bits_.size()) bits_.resize(op + 1);
    bits_[op] = true;
  }
  void insert(const OpSet& other) {
    if (other.bits_.size() > bits_.size()) bits_.resize(other.bits_.size());
    for (size_t i = 0; i < other.bits_.size(); ++i) {
      if (other.bits_[i]) bits_[i] = true;
    }
  }
  void clear() { bits_.clear(); }

 private:
  std::vector<bool> bits_;
};

enum class Meeting { kNone, kAllReduce, kReduceScatter, kAllGather, kNorm };

// What ranks must agree on.
struct Collective {
  Meeting kind = Meeting::kNone;
  uint64_t group = 0;  // communicator
  std::vector<int> members;
  const void* in = nullptr;
  void* out = nullptr;
  uint64_t n = 0;
  esp_dtype dtype = 0;
  uint32_t op = 0;
  double* norm = nullptr;  // kNorm: summed over members, in place
};
std::string text_of(const Collective& collective);

struct Op {
  std::string name;  // with all arguments: two equal steps have equal names
  Where where;
  bool on_compute = false;
  std::vector<size_t> before;  // operations that must have run
  OpSet after;                 // all that are ordered before it
  Collective meeting;
  std::function<void()> run;  // empty for meetings
};

}  // namespace esp::verify

// What the opaque handles of the border are here.
struct esp_stream_s {
  void* owner = nullptr;
  uint32_t number = 0;
  uint32_t place = 0;  // of the memory that it may touch
  esp::verify::OpSet seen;
  std::vector<size_t> before;  // of the next operation
};
struct esp_event_s {
  void* owner = nullptr;
  uint32_t number = 0;
  esp::verify::OpSet seen;
  std::vector<size_t> before;
  int64_t segment = -1;  // step in which it was recorded; -1: never
};
struct esp_comm_s {
  void* owner = nullptr;
  uint64_t number = 0;
  std::vector<int> members;  // ranks of the world
  int place = 0;             // of this rank
};
