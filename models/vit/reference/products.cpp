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
  return narrow(at::linear(wide(x), wide(weight), bias.defined() ? wide(bias) : bias));
}

void multiply_into(at::Tensor out, const at::Tensor& a, const at::Tensor& b) {
  if (is_fp16_on_cpu(a)) {
    out.copy_(wide(a).mm(wide(b)));
  } else {
    at::mm_out(out, a, b);
  }
}

void sum_rows_into(at::Tensor out, const at::Tensor& a) {
  if (is_fp16_on_cpu(a)) {
    out.copy_(wide(a).sum(0));
  } else {
    at::sum_out(out, a, at::IntArrayRef{0});
  }
}

at::Tensor attention_product(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  if (!is_fp16_on_cpu(query)) return at::scaled_dot_product_attention(query, key, value);
  return Attention::apply(query, key, value);
}

}  // namespace esp::vit
