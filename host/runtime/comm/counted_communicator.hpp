// What all communicators share: their place among the ranks, counts, and which calls have nothing to do.
#pragma once

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/host_collectives.hpp"

namespace esp::runtime {

class CountedCommunicator : public Communicator {
 public:
  void all_reduce(const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op, Stream& stream) final;
  void reduce_scatter(const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op, Stream& stream) final;
  void all_gather(const void* in, void* out, uint64_t n_in, esp_dtype dtype, Stream& stream) final;

  int32_t rank() const final { return group().rank; }
  int32_t size() const final { return static_cast<int32_t>(group().size()); }
  std::span<const int32_t> members() const final { return group().members; }
  CommCounters counters() const final { return counters_; }

 protected:
  virtual const GroupFacts& group() const = 0;
  // Enqueues a call that has elements; with one rank it is a copy from in to out, which differ.
  virtual void issue(const CollectiveCall& call, const void* in, void* out, Stream& stream) = 0;

 private:
  void count_and_issue(CollectiveCall call, CollectiveCount& count, const void* in, void* out, Stream& stream);

  CommCounters counters_;
  uint64_t n_calls_ = 0;
};

}  // namespace esp::runtime
