#include "runtime/comm/counted_communicator.hpp"

#include <algorithm>

namespace esp::runtime {

void CountedCommunicator::count_and_issue(CollectiveCall call, CollectiveCount& count, const void* in, void* out,
                                          Stream& stream) {
  const uint64_t n_ranks = group().size();
  ++count.calls;
  count.bytes += std::max(input_bytes(call, n_ranks), output_bytes(call, n_ranks));
  if (call.n == 0 || (n_ranks == 1 && in == out)) return;
  call.number = n_calls_++;
  issue(call, in, out, stream);
}

void CountedCommunicator::all_reduce(const void* in, void* out, uint64_t n, esp_dtype dtype, uint32_t op,
                                     Stream& stream) {
  count_and_issue({Collective::kAllReduce, 0, n, dtype, op}, counters_.all_reduce, in, out, stream);
}

void CountedCommunicator::reduce_scatter(const void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op,
                                         Stream& stream) {
  count_and_issue({Collective::kReduceScatter, 0, n_out, dtype, op}, counters_.reduce_scatter, in, out, stream);
}

void CountedCommunicator::all_gather(const void* in, void* out, uint64_t n_in, esp_dtype dtype, Stream& stream) {
  count_and_issue({Collective::kAllGather, 0, n_in, dtype, 0}, counters_.all_gather, in, out, stream);
}

}  // namespace esp::runtime
