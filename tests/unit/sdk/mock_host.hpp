// A host of one process for strategies in unit tests: ranks are threads. Hooks only enqueue; the work runs at the end
// of the step, or again when a step is replayed. The host remembers what was ordered before what, so that a forgotten
// event shows without a race having to happen; where each stream is a thread, ThreadSanitizer sees it too.
#pragma once

#include <espalier/strategy.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "element.hpp"
#include "mistake.hpp"
#include "mock_world.hpp"
#include "runtime/device/update_block.hpp"

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

// What the opaque handles of the border are here: `seen` are the operations that are ordered before the next one,
// `before` those of them from which the others follow.
struct esp_stream_s {
  OpSet seen;
  std::vector<size_t> before;
  std::vector<size_t> open_waits;  // numbers of its waits since its last operation
  uint32_t number = 0;
  uint32_t place = ESP_DEVICE;  // the memory that it may touch
  enum { kCompute, kGrads, kSide } role = kSide;
};
struct esp_event_s {
  OpSet seen;
  std::vector<size_t> before;
  uint64_t step = 0;  // in which it was recorded
  const esp_stream_s* on = nullptr;
};

// What the strategy is told of the optimizer, and how the host clips. With fp16 the loss is scaled, as the plan says.
struct MockUpdate {
  uint32_t flags = 0;
  esp_dtype master = ESP_F32;
  bool momentum = true;  // one slot
  double clip_norm = 0;  // 0 = off
};

class MockHost {
 public:
  struct Op {
    std::string what;  // "all_reduce", "apply", "norm_add", "norm_finish", or what enqueue was given
    OpSet after;
    const void* data = nullptr;
    uint64_t n = 0;
    std::vector<uint32_t> params;  // of apply
    uint32_t stream = 0;
    std::vector<size_t> before;  // see esp_stream_s
    std::function<void()> run;
  };
  struct Allocation {
    uint64_t bytes;
    uint32_t place, tag, flags;
  };
  static constexpr float kRate = 0.125f, kMomentum = 0.5f;  // of the optimizer, which is SGD
  // A call of `wait`.
  struct Wait {
    std::string what;          // what waits for what, and in which hook
    std::vector<size_t> last;  // operations that it waits for; others come before them
    bool adds_order = true;    // no: the stream waited for it before, or for something behind it
    bool covered = false;      // by a later wait of the same stream, without work between them
  };
  // Work that was enqueued together.
  struct Segment {
    size_t begin = 0, end = 0;  // indices of operations
    uint64_t meetings = 0;
  };

  MockHost(MockWorld& world, int rank, const MockUpdate& update);
  MockHost(const MockHost&) = delete;
  ~MockHost();

  const esp_host& host() const { return host_; }
  const esp_binder& binder() const { return binder_; }
  esp_stream compute() { return &compute_; }
  esp_stream grads() { return &grads_; }  // a branch of the model's: a strategy must wait for it

  // What a host does at both ends of a step. join runs what was enqueued and returns it.
  void fork();
  Segment join();
  void replay(const Segment& segment) { run(segment); }
  void sync();  // runs what was enqueued so far
  void drop();  // it is never run
  size_t enqueue(const std::string& what, esp_stream stream, std::function<void()> run = {});

  // The operation reads or writes memory. A violation when it is not ordered behind what it conflicts with, when the
  // memory is nobody's or when the stream may not touch it (any: it is a copy).
  void reads(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any = false) {
    touch(op, data, bytes, stream, any, false);
  }
  void writes(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any = false) {
    touch(op, data, bytes, stream, any, true);
  }

  // The optimizer's numbers, by the runtime's own rules: around the work of each training step.
  void set_scaler(const esp_plan& plan);
  void begin_numbers();
  void end_numbers();
  float loss_scale() const { return block_.loss_scale; }

  Mistake mistake = Mistake::kNone;
  bool on_threads = false;           // every stream runs on one of its own
  std::set<size_t> swallowed_waits;  // numbers of calls of `wait` that do nothing
  uint64_t trained_elements = 0;     // of the whole model

  std::vector<Op> ops;
  std::map<uint32_t, esp_bind> params, gradients;              // as bound
  std::map<const char*, Allocation> allocations;               // living
  std::map<uint32_t, std::map<uint32_t, uint64_t>> allocated;  // place -> tag -> bytes of all allocations
  std::map<uint32_t, uint64_t> peak;                           // place -> bytes living at once, at most
  std::map<uint32_t, std::map<uint64_t, int>> applied;         // param -> element -> times
  uint64_t norm_elements = 0, norm_elements_before = 0;        // before: up to this step
  int norms_finished = 0;
  bool norm_is_sharded = false;
  std::set<uint32_t> unwritten;                     // gradients bound with ESP_WRITE_NOW that nobody has written since
  std::vector<esp::runtime::UpdateResult> updates;  // of each training step
  std::vector<Wait> waits;                          // calls of `wait`: what waits for what, and when
  std::string now;                                  // "hook, unit": for `waits`
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
  bool swallows(esp_stream waiting, const esp_event_s& event);
  void run(const Segment& segment);
  void run_on_threads(const Segment& segment);

  uint64_t step_ = 0;
  bool reduced_ = false;          // in this step
  std::set<uint32_t> armed_;      // first parameters of gradient binds, in this step
  std::vector<Access> accesses_;  // since the last fork: a host orders steps
  size_t segment_begin_ = 0;
  uint64_t n_meetings_ = 0;          // enqueued in this segment
  uint64_t meetings_before_ = 0;     // that the work which runs comes behind
  std::vector<size_t> norm_ops_;     // of this step
  std::vector<double*> norm_parts_;  // of this step
  std::deque<double> norm_memory_;   // of all steps
  size_t norm_finish_op_ = 0;
  esp::runtime::UpdateBlock block_{};
  esp::runtime::UpdateRules rules_;
  uint64_t index_ = 0;  // training steps begun
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
