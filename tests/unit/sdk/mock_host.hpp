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

// What the opaque handles of the border are here: `seen` are the operations that are ordered before the next one.
struct esp_stream_s {
  std::set<size_t> seen;
};
struct esp_event_s {
  std::set<size_t> seen;
};

float to_float(const void* data, uint64_t i, esp_dtype dtype);          // F32 and BF16
void from_float(void* data, uint64_t i, esp_dtype dtype, float value);  // rounds to nearest even

// Where ranks meet for a collective.
class MockWorld {
 public:
  explicit MockWorld(int size) : parts_(static_cast<size_t>(size)) {}
  int size() const { return static_cast<int>(parts_.size()); }
  void all_reduce(int rank, void* data, uint64_t n, esp_dtype dtype, uint32_t op);

 private:
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
    std::set<size_t> after;
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

  std::vector<Op> ops;
  std::map<uint32_t, esp_bind> params, gradients;       // as bound
  std::map<const char*, Allocation> allocations;        // living
  std::map<uint32_t, std::map<uint64_t, int>> applied;  // param -> element -> times
  double sum_of_squares = 0;
  uint64_t norm_elements = 0;
  int norms_finished = 0;
  std::vector<std::string> violations;

 private:
  friend struct MockTables;

  MockWorld& world_;
  const int rank_;
  esp_slot slot_{};
  const esp_slot* slots_[1];
  esp_update_desc desc_{};
  esp_host host_{};
  esp_binder binder_{};
  esp_stream_s compute_, grads_;
  std::deque<esp_stream_s> streams_;
  std::deque<esp_event_s> events_;
};
