#include "products.hpp"

#include <torch/csrc/autograd/custom_function.h>

namespace esp::vit {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool is_fp16_on_cpu(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kHalf; }

at::Tensor wide(const at::Tensor& x) { return x.to(at::kFloat); }
at::Tensor narrow(const at::Tensor& x) { return x.to(at::kHalf); }

struct Linear : Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
    context->save_for_backward({x, weight});
    return narrow(at::linear(wide(x), wide(weight), wide(bias)));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    enum Operand : size_t { kX, kWeight, kBias };
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[kX], &weight = saved[kWeight];
    const at::Tensor rows = wide(gradients[0]).flatten(0, -2);
    variable_list of(3);
    if (context->needs_input_grad(kX)) of[kX] = narrow(rows.mm(wide(weight))).view_as(x);
    if (context->needs_input_grad(kWeight)) of[kWeight] = narrow(rows.t().mm(wide(x.flatten(0, -2))));
    if (context->needs_input_grad(kBias)) of[kBias] = narrow(rows.sum(0));
    return of;
  }
};

struct Attention : Function<Attention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value) {
    const auto [mixed, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(wide(query), wide(key), wide(value));
    at::Tensor out = narrow(mixed);
    context->save_for_backward({query, key, value, out, log_sums});
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto [of_query, of_key, of_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        wide(gradients[0]), wide(saved[0]), wide(saved[1]), wide(saved[2]), wide(saved[3]), saved[4],
        /*dropout_p=*/0, /*is_causal=*/false);
    return {narrow(of_query), narrow(of_key), narrow(of_value)};
  }
};

}  // namespace

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!is_fp16_on_cpu(x)) return at::linear(x, weight, bias);
  return Linear::apply(x, weight, bias.defined() ? bias : at::zeros({weight.size(0)}, weight.options()));
}

at::Tensor attention_product(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  if (!is_fp16_on_cpu(query)) return at::scaled_dot_product_attention(query, key, value);
  return Attention::apply(query, key, value);
}

}  // namespace esp::vit
