#include "workspace_order.hpp"

#include <espalier/failure.hpp>
#include <vector>

#include "kernels.hpp"

namespace esp::vit::fused {
namespace {

// What the stream's next node will wait for; graph NULL: it is not captured.
struct Capture {
  unsigned long long id = 0;
  cudaGraph_t graph = nullptr;
  std::vector<cudaGraphNode_t> waits_for;
};

Capture capture_of(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  Capture capture;
  const cudaGraphNode_t* nodes = nullptr;
  const cudaGraphEdgeData* edges = nullptr;  // asked for, else edges with data are an error
  size_t n = 0;
  check(cudaStreamGetCaptureInfo(stream, &status, &capture.id, &capture.graph, &nodes, &edges, &n), "a capture");
  if (status != cudaStreamCaptureStatusActive) return {};
  capture.waits_for.assign(nodes, nodes + n);
  return capture;
}

std::vector<cudaGraphNode_t> dependencies(cudaGraphNode_t node) {
  size_t n = 0;
  check(cudaGraphNodeGetDependencies(node, nullptr, nullptr, &n), "a graph's node");
  std::vector<cudaGraphNode_t> nodes(n);
  std::vector<cudaGraphEdgeData> edges(n);
  if (n != 0) check(cudaGraphNodeGetDependencies(node, nodes.data(), edges.data(), &n), "a graph's node");
  return nodes;
}

// The first of a product's nodes that reads its operands. Its nodes are a chain behind `before`, to `end`.
cudaGraphNode_t first_reader(cudaGraphNode_t before, cudaGraphNode_t end) {
  cudaGraphNode_t reader = end;
  for (std::vector<cudaGraphNode_t> earlier = dependencies(end); earlier.size() == 1 && earlier[0] != before;
       earlier = dependencies(earlier[0])) {
    if (!is_memset(earlier[0])) reader = earlier[0];
  }
  return reader;
}

}  // namespace

bool is_memset(cudaGraphNode_t node) {
  cudaGraphNodeType type{};
  check(cudaGraphNodeGetType(node, &type), "a graph's node");
  return type == cudaGraphNodeTypeMemset;
}

void WorkspaceOrder::enqueue(cudaStream_t stream, const std::function<void()>& call) {
  Capture operands = capture_of(stream);
  if (operands.graph == nullptr) return call();
  const bool follows = last_ != nullptr && capture_ == operands.id;
  if (follows) {
    check(cudaStreamUpdateCaptureDependencies(stream, &last_, nullptr, 1, cudaStreamSetCaptureDependencies),
          "a capture");
  }
  call();
  const Capture after = capture_of(stream);
  if (after.waits_for.size() != 1) fail(ESP_E_INTERNAL, "a captured product does not end in one node");
  if (follows) {
    const cudaGraphNode_t reader = first_reader(last_, after.waits_for[0]);
    for (const cudaGraphNode_t operand : operands.waits_for) {
      if (operand == last_) continue;
      check(cudaGraphAddDependencies(operands.graph, &operand, &reader, nullptr, 1), "a graph's edge");
    }
  }
  capture_ = operands.id;
  last_ = after.waits_for[0];
}

}  // namespace esp::vit::fused
