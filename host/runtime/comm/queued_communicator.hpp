// Collectives as items of CPU queues, in the order of their calls, over a group that reduces fp32 and fp64.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/gloo_group.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

struct GroupFacts {
  std::string name;                 // also in the store, so unique in the run
  int32_t rank = 0;                 // within the group
  std::vector<int32_t> members{0};  // ranks in the world
};

// On the CPU device.
class QueuedCommunicator final : public Communicator {
 public:
  // store, group: NULL for one rank.
  QueuedCommunicator(Device& device, std::shared_ptr<GlooStore> store, std::unique_ptr<GlooGroup> group,
                     GroupFacts facts);

  int32_t rank() const override { return facts_.rank; }
  int32_t size() const override { return static_cast<int32_t>(facts_.members.size()); }
  std::span<const int32_t> members() const override { return facts_.members; }
  void all_reduce(const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op, Stream& stream) override;
  void reduce_scatter(const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op, Stream& stream) override;
  void all_gather(const void* in, void* out, uint64_t n_in, esp_dtype dtype, Stream& stream) override;
  std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) override;
  CommCounters counters() const override { return counters_; }

 private:
  struct Call {
    const char* name;
    uint64_t number, n;
    esp_dtype dtype;
    uint32_t op;
  };
  template <class Body>
  void issue(const Call& call, Stream& stream, Body body);
  // Run by queues, one at a time.
  void run_all_reduce(const Call& call, const void* in, void* out);
  void run_reduce_scatter(const Call& call, const void* in, void* out);
  void run_all_gather(const Call& call, const void* in, void* out);
  void* staging(uint64_t bytes);

  Device& device_;
  std::shared_ptr<GlooStore> store_;
  std::unique_ptr<GlooGroup> group_;
  GroupFacts facts_;
  std::unique_ptr<Event> last_;  // the previous collective's end
  CommCounters counters_;
  uint64_t n_calls_ = 0;
  uint64_t n_subsets_ = 0;
  std::vector<double> staging_;  // grows to the largest collective that needs it
};

}  // namespace esp::runtime
