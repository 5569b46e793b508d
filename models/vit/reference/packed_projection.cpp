#include "packed_projection.hpp"

#include <torch/csrc/autograd/custom_function.h>

namespace esp::vit {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class Packed : public torch::autograd::Function<Packed> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& query,
                            const at::Tensor& key, const at::Tensor& value, const std::optional<at::Tensor>& query_bias,
                            const std::optional<at::Tensor>& key_bias, const std::optional<at::Tensor>& value_bias) {
    context->save_for_backward({x, query, key, value});
    context->saved_data["bias"] = query_bias.has_value();
    const at::Tensor weight = at::cat({query, key, value});
    if (!query_bias.has_value()) return at::linear(x, weight);
    return at::linear(x, weight, at::cat({*query_bias, *key_bias, *value_bias}));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const int64_t width = saved[1].size(0);
    const at::Tensor gradient = gradients[0].reshape({-1, 3 * width});
    const at::Tensor x = saved[0].reshape({-1, saved[0].size(-1)});
    variable_list result(7);
    if (context->needs_input_grad(0)) {
      result[0] = at::mm(gradient, at::cat({saved[1], saved[2], saved[3]})).view(saved[0].sizes());
    }
    put_parts(
        context, 1, width, [&] { return at::mm(gradient.t(), x); }, result);
    if (context->saved_data["bias"].toBool()) {
      put_parts(
          context, 4, width, [&] { return gradient.sum(0); }, result);
    }
    return result;
  }

 private:
  // The three parts of a packed gradient, which is only computed where one of them is wanted.
  template <class Compute>
  static void put_parts(AutogradContext* context, size_t first, int64_t width, Compute compute, variable_list& result) {
    bool wanted = false;
    for (size_t i = 0; i < 3; ++i) wanted = wanted || context->needs_input_grad(first + i);
    if (!wanted) return;
    const at::Tensor packed = compute();
    for (size_t i = 0; i < 3; ++i) result[first + i] = packed.narrow(0, static_cast<int64_t>(i) * width, width);
  }
};

}  // namespace

at::Tensor packed_projection(const at::Tensor& x, const Projection& query, const Projection& key,
                             const Projection& value) {
  return Packed::apply(x, query.weight, key.weight, value.weight, query.bias, key.bias, value.bias);
}

}  // namespace esp::vit
