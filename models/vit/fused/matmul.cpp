#include "matmul.hpp"

#include <espalier/failure.hpp>
#include <vector>

#include "algorithm_contest.hpp"
#include "algorithm_file.hpp"
#include "algorithm_search.hpp"

namespace esp::vit::fused {

Matmuls::Matmuls(Half half, int device) : half_(half) {
  check_lt(cublasLtCreate(&handle_), "its start");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "asking for the device");
  machine_ = std::string(properties.name) + " cublasLt " + std::to_string(cublasLtGetVersion()) +
             (half == Half::kBf16 ? " bf16 " : " fp16 ");
  cache_ = static_cast<size_t>(properties.l2CacheSize);
}

Matmuls::~Matmuls() {
  plans_.clear();
  cublasLtDestroy(handle_);
}

void Matmuls::plan(const MatmulShape& shape) {
  std::unique_ptr<MatmulPlan>& slot = plans_[shape];
  if (slot == nullptr) slot = std::make_unique<MatmulPlan>(handle_, shape, half_);
}

void Matmuls::run(const MatmulShape& shape, const MatmulOperands& operands, cudaStream_t stream, Workspace workspace) {
  const auto at = plans_.find(shape);
  if (at == plans_.end() || !at->second->chosen()) fail(ESP_E_INTERNAL, "product ", shape.text(), " was not planned");
  const MatmulPlan& plan = *at->second;
  orders_[workspace.data].enqueue(stream, [&] { plan.enqueue(plan.algorithm(), operands, stream, workspace); });
}

size_t Matmuls::tuning_bytes() const {
  std::vector<MatmulShape> shapes;
  for (const auto& [shape, plan] : plans_) shapes.push_back(shape);
  return TrialMemory::least_bytes(shapes);
}

std::string Matmuls::key(const MatmulShape& shape, Workspace workspace) const {
  return machine_ + shape.text() + " with " + std::to_string(workspace.bytes >> 20) + " MiB";
}

bool Matmuls::recall(MatmulPlan& plan, const AlgorithmFile& file, Workspace workspace) const {
  const auto known = file.find(key(plan.shape(), workspace));
  if (!known || !plan.admits(known->algorithm, workspace.bytes)) return false;
  plan.choose(known->algorithm);
  return true;
}

void Matmuls::tune(void* memory, size_t bytes, bool by_time, cudaStream_t stream, Workspace workspace) {
  AlgorithmFile file;
  std::vector<MatmulPlan*> open;
  std::vector<MatmulShape> shapes;
  for (const auto& [shape, plan] : plans_) {
    if (plan->chosen() || (by_time && recall(*plan, file, workspace))) continue;
    open.push_back(plan.get());
    shapes.push_back(shape);
  }
  if (open.empty()) return;
  if (!by_time) {
    for (MatmulPlan* plan : open) plan->choose(proposed(*plan, workspace.bytes, workspace.data).front());
    return;
  }
  const TrialMemory operands(shapes, cache_, memory, bytes);
  operands.fill(half_, stream);
  Contest(open, operands, stream, workspace).run();
  timed_ += open.size();
  for (const MatmulPlan* plan : open) {
    file.remember(key(plan->shape(), workspace), {plan->algorithm(), workspace.bytes});
  }
}

}  // namespace esp::vit::fused
