// A function of tensors whose backward is written out by hand, for autograd to call.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>

#include <functional>
#include <utility>

namespace esp::vit {

// Everything that runs in it is invisible to autograd.
using BelowAutograd = at::AutoDispatchBelowADInplaceOrView;

class ExplicitBackward : public torch::autograd::Node {
 public:
  using Tensors = torch::autograd::variable_list;
  // Gradients of the outputs to those of the inputs: undefined ones are zero or not wanted, see wants(). Called once at
  // most: it may let go of what it holds.
  using Function = std::function<Tensors(const ExplicitBackward& of, Tensors gradients)>;

  explicit ExplicitBackward(Function function) : function_(std::move(function)) {}

  // Whether anybody asks for the gradient of an input. While the function runs.
  bool wants(size_t input) const { return task_should_compute_output(input); }

  Tensors apply(Tensors&& gradients) override;
  void release_variables() override { function_ = nullptr; }

 private:
  Function function_;
};

// Makes outputs, computed below autograd, functions of inputs; undefined inputs are allowed. Nothing happens where no
// gradient is asked for.
void set_backward(const ExplicitBackward::Tensors& outputs, const ExplicitBackward::Tensors& inputs,
                  ExplicitBackward::Function function);

}  // namespace esp::vit
