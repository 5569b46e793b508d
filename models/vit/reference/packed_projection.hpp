// Query, key and value as one matrix product: a third of the launches, and one sum over 3 H in the input's gradient.
// The packed weights are made anew in backward rather than kept: they would cost as much memory as the weights
// themselves.
#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace esp::vit {

struct Projection {
  at::Tensor weight;               // [H, H]
  std::optional<at::Tensor> bias;  // [H]; all three have one, or none
};

// x: [B, T, H]; returns [B, T, 3 H]: query, key, value side by side. Differentiable in everything.
at::Tensor packed_projection(const at::Tensor& x, const Projection& query, const Projection& key,
                             const Projection& value);

}  // namespace esp::vit
