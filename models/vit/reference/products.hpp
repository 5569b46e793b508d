// The matrix products of the reference executor. As LibTorch has them, but in fp16 on a CPU, where its own are loops
// that take more than ten times what fp32 does: there operands are fp16, products and sums fp32, and each result is
// rounded once, which is what the tensor cores of a GPU do.
#pragma once

#include <ATen/ATen.h>

namespace esp::vit {

// x [..., in], weight [out, in], bias [out] or undefined; gives [..., out]. Not for autograd.
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// a [m, k] times b [k, n] into out [m, n], and the sums of the columns of a [m, n] into out [n]. Not for autograd.
void multiply_into(at::Tensor out, const at::Tensor& a, const at::Tensor& b);
void sum_rows_into(at::Tensor out, const at::Tensor& a);

// Scaled dot product attention of [B, N, T, H / N] each, in that shape, with its backward. Only fp16 tensors are kept
// between them.
at::Tensor attention_product(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

}  // namespace esp::vit
