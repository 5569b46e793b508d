#include "explicit_backward.hpp"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <memory>

namespace esp::vit {

namespace autograd = torch::autograd;

ExplicitBackward::Tensors ExplicitBackward::apply(Tensors&& gradients) {
  const BelowAutograd guard;
  return function_(*this, std::move(gradients));
}

void set_backward(const ExplicitBackward::Tensors& outputs, const ExplicitBackward::Tensors& inputs,
                  ExplicitBackward::Function function) {
  if (!at::GradMode::is_enabled() || !autograd::any_variable_requires_grad(inputs)) return;
  const std::shared_ptr<autograd::Node> node(new ExplicitBackward(std::move(function)), autograd::deleteNode);
  node->set_next_edges(autograd::collect_next_edges(at::ArrayRef<at::Tensor>(inputs)));
  autograd::set_history(outputs, node);
}

}  // namespace esp::vit
