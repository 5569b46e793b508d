// A host of one process for strategies in unit tests: ranks are threads, streams run at once, but remember what was
// ordered before what, so that a forgotten event shows without a race having to happen.
#pragma once

#include <espalier/strategy.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "mistake.hpp"

// Indices of operations.
class OpSet {
 public:
  size_t count(size_t op) const { return op < bits_.size() && bits_[op] ? 1 : 0; }
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

 private:
  std::vector<bool> bits_;
};

// What the opaque handles of the border are here: `seen` are the operations that are ordered before the next one.
struct esp_stream_s {
  OpSet seen;
  uint32_t place = ESP_DEVICE;  // the memory that it may touch
  enum { kCompute, kGrads, kSide } role = kSide;
};
struct esp_event_s {
  OpSet seen;
  uint64_t step = 0;  // in which it was recorded
  const esp_stream_s* on = nullptr;
};

float to_float(const void* data, uint64_t i, esp_dtype dtype);          // F32 and BF16
void from_float(void* data, uint64_t i, esp_dtype dtype, float value);  // rounds to nearest even

// Where ranks meet for a collective.
class MockWorld {
 public:
  explicit MockWorld(int size) : parts_(static_cast<size_t>(size)) {}
  int size() const { return static_cast<int>(parts_.size()); }
  void all_reduce(int rank, const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op);
  void reduce_scatter(int rank, const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op);
  void all_gather(int rank, const void* in, void* out, uint64_t n_in, esp_dtype dtype);

 private:
  // Every rank gives n numbers and gets what `take` makes of the result: their sum or mean, or (op 0) all of them.
  template <class Take>
  void meet(int rank, const void* in, uint64_t n, esp_dtype dtype, uint32_t op, const Take& take);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<float>> parts_;
  std::vector<float> sum_;
  size_t arrived_ = 0, left_ = 0;
  bool open_ = true;  // for those who arrive
};

// What the strategy is told of the optimizer.
struct MockUpdate {
  uint32_t flags = 0;
  esp_dtype master = ESP_F32;
  bool momentum = true;  // one slot
};

class MockHost {
 public:
  struct Op {
    std::string what;  // "all_reduce", "apply", "norm_add", "norm_finish", or what add_op was given
    OpSet after;
    const void* data = nullptr;
    uint64_t n = 0;
    std::vector<uint32_t> params;  // of apply
  };
  struct Allocation {
    uint64_t bytes;
    uint32_t place, tag, flags;
  };

  MockHost(MockWorld& world, int rank, const MockUpdate& update);
  MockHost(const MockHost&) = delete;
  ~MockHost();

  const esp_host& host() const { return host_; }
  const esp_binder& binder() const { return binder_; }
  esp_stream compute() { return &compute_; }
  esp_stream grads() { return &grads_; }  // a branch of the model's: a strategy must wait for it

  void fork();  // what a host does at both ends of a step
  void join();
  size_t add_op(const std::string& what, esp_stream stream);

  // The operation reads or writes memory. A violation when it is not ordered behind what it conflicts with, when the
  // memory is nobody's or when the stream may not touch it (any: it is a copy).
  void reads(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any = false) {
    touch(op, data, bytes, stream, any, false);
  }
  void writes(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any = false) {
    touch(op, data, bytes, stream, any, true);
  }

  Mistake mistake = Mistake::kNone;
  uint64_t trained_elements = 0;  // of the whole model
  std::vector<uint64_t> numel;    // [param]

  std::vector<Op> ops;
  std::map<uint32_t, esp_bind> params, gradients;              // as bound
  std::map<const char*, Allocation> allocations;               // living
  std::map<uint32_t, std::map<uint32_t, uint64_t>> allocated;  // place -> tag -> bytes of all allocations
  std::map<uint32_t, uint64_t> peak;                           // place -> bytes living at once, at most
  std::map<uint32_t, std::map<uint64_t, int>> applied;         // param -> element -> times
  double sum_of_squares = 0;
  uint64_t norm_elements = 0, norm_elements_before = 0;  // before: up to this step
  int norms_finished = 0;
  bool norm_is_sharded = false;
  std::set<uint32_t> unwritten;  // gradients bound with ESP_WRITE_NOW that nobody has written since
  std::vector<std::string> violations;

 private:
  friend struct MockTables;
  struct Access {
    const char *begin, *end;
    size_t op;
    bool writes;
  };
  void touch(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any, bool writes);
  const std::pair<const char* const, Allocation>* allocation_of(const void* data, uint64_t bytes) const;

  bool forgets(esp_stream waiting, const esp_event_s& event) const;

  uint64_t step_ = 0;
  bool reduced_ = false;          // in this step
  std::set<uint32_t> armed_;      // first parameters of gradient binds, in this step
  std::vector<Access> accesses_;  // since the last fork: a host orders steps
  MockWorld& world_;
  const int rank_;
  esp_slot slot_{};
  const esp_slot* slots_[1];
  esp_update_desc desc_{}, told_{};  // told: to the strategy
  esp_host host_{};
  esp_binder binder_{};
  esp_stream_s compute_, grads_;
  std::deque<esp_stream_s> streams_;
  std::deque<esp_event_s> events_;
};
