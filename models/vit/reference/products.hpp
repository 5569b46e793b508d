// The matrix products of the reference executor. As LibTorch has them, but in fp16 on a CPU, where its own are loops
// that take more than ten times what fp32 does: there operands are fp16, products and sums fp32, and each result is
// rounded once, which is what the tensor cores of a GPU do. Forward and backward; only fp16 tensors are kept between
// them.
#pragma once

#include <ATen/ATen.h>

namespace esp::vit {

// x [..., in], weight [out, in], bias [out] or undefined; gives [..., out].
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// Scaled dot product attention of [B, N, T, H / N] each, in that shape.
at::Tensor attention_product(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

}  // namespace esp::vit
