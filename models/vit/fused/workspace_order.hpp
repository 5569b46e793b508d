// Orders products in a captured graph by what they work on, not by their stream alone.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

namespace esp::vit::fused {

bool is_memset(cudaGraphNode_t node);

// Some of cuBLASLt's kernels count in their workspace, and clear the counter with a memset before they start. In a
// graph that memset is a node of its own, which costs 10 us where it stands between two kernels. It needs nothing of
// what the kernel before it computes: only the product before, on the same workspace, must have ended. So while a
// stream is captured the memset is made to wait for that one, and the product for both.
//
// One for each workspace. Products on a workspace are enqueued in their order.
class WorkspaceOrder {
 public:
  // call enqueues one product on the stream.
  void enqueue(cudaStream_t stream, const std::function<void()>& call);

 private:
  unsigned long long capture_ = 0;  // that last_ belongs to
  cudaGraphNode_t last_ = nullptr;  // of the product before
};

}  // namespace esp::vit::fused
