// An ordered set of ranks that reduce and gather device memory.
#pragma once

#include <espalier/host.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace esp::runtime {

class Stream;

struct CollectiveCount {
  uint64_t calls = 0;
  uint64_t bytes = 0;  // of the larger of input and output

  CollectiveCount& operator+=(const CollectiveCount& more) {
    calls += more.calls;
    bytes += more.bytes;
    return *this;
  }
  CollectiveCount operator-(const CollectiveCount& before) const {
    return {calls - before.calls, bytes - before.bytes};
  }
};

struct CommCounters {
  CollectiveCount all_reduce, reduce_scatter, all_gather;

  CommCounters& operator+=(const CommCounters& more) {
    all_reduce += more.all_reduce;
    reduce_scatter += more.reduce_scatter;
    all_gather += more.all_gather;
    return *this;
  }
  CommCounters operator-(const CommCounters& before) const {
    return {all_reduce - before.all_reduce, reduce_scatter - before.reduce_scatter, all_gather - before.all_gather};
  }
};

// Collectives are enqueued and run in the order of their calls, whatever streams they are on. Counts are elements.
// A lost peer or a timeout is an Error(kPeerLost) that names collective and rank, sticky on the device.
// In place: all_reduce in == out, all_gather in == out + rank * n_in, reduce_scatter out == in + rank * n_out.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;
  virtual std::span<const int32_t> members() const = 0;  // ranks in the world, ascending

  // op: ESP_SUM, ESP_AVG, ESP_MAX, ESP_MIN. Dtypes F64 (CPU), F32, BF16, F16; all_gather also U8. Half types are
  // reduced in fp32 and rounded once. At size 2 a sum is a + b, bit for bit.
  virtual void all_reduce(const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op, Stream& stream) = 0;
  virtual void reduce_scatter(const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op,
                              Stream& stream) = 0;
  virtual void all_gather(const void* in, void* out, uint64_t n_in, esp_dtype dtype, Stream& stream) = 0;

  // Ranks within this communicator, ascending; called by all members in the same order. NULL for those not in it.
  virtual std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) = 0;

  // At the border of a step, where the host itself orders all streams: later calls need not wait for earlier ones. An
  // event recorded while a step is captured means nothing outside of it, nor the other way round.
  virtual void forget_order() {}

  virtual CommCounters counters() const = 0;  // of the calls so far; subsets count for themselves
};

}  // namespace esp::runtime
