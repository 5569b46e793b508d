// Products in fp16 on a CPU: fp32 inside, each result rounded once.
#include "reference/products.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

namespace esp::vit::test {
namespace {

using Tensors = std::vector<at::Tensor>;

at::Tensor drawn(at::IntArrayRef shape, double scale = 1) {
  return at::randn(shape).mul_(scale).to(at::kHalf).set_requires_grad(true);
}

Tensors in_fp64(const Tensors& tensors) {
  Tensors out;
  for (const at::Tensor& x : tensors) out.push_back(x.detach().to(at::kDouble).set_requires_grad(x.requires_grad()));
  return out;
}

// The largest distance, in units of the largest value. Rounding once takes 2^-11 at most.
double distance(const at::Tensor& is, const at::Tensor& exact) {
  EXPECT_EQ(is.scalar_type(), at::kHalf);
  return (is.detach().to(at::kDouble).sub(exact).abs().max() / exact.abs().max()).item<double>();
}

// product: a function of tensors; exact: the same in fp64.
template <class Product, class Exact>
void expect_one_rounding(const Product& product, const Exact& exact, const Tensors& operands, double tolerance) {
  const Tensors same = in_fp64(operands);
  const at::Tensor is = product(operands), want = exact(same);
  ASSERT_EQ(is.sizes(), want.sizes());
  EXPECT_LE(distance(is, want), tolerance);
  const at::Tensor flow = at::randn(is.sizes()).to(at::kHalf);
  Tensors leaves, exact_leaves;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (!operands[i].requires_grad()) continue;
    leaves.push_back(operands[i]);
    exact_leaves.push_back(same[i]);
  }
  const Tensors gradients = torch::autograd::grad({is}, leaves, {flow});
  const Tensors exact_gradients = torch::autograd::grad({want}, exact_leaves, {flow.to(at::kDouble)});
  for (size_t i = 0; i < leaves.size(); ++i) {
    ASSERT_EQ(gradients[i].sizes(), leaves[i].sizes());
    EXPECT_LE(distance(gradients[i], exact_gradients[i]), tolerance) << i;
  }
}

const auto affine = [](const Tensors& of) { return linear_product(of[0], of[1], of[2]); };
const auto exact_affine = [](const Tensors& of) { return at::linear(of[0], of[1], of[2]); };

TEST(Fp16Products, LinearRoundsEachResultOnce) {
  at::manual_seed(1);
  expect_one_rounding(affine, exact_affine, {drawn({3, 50, 96}), drawn({40, 96}), drawn({40})}, 0x1.01p-11);
}

TEST(Fp16Products, LinearTakesRowsWithoutTokensAndFrozenParameters) {
  at::manual_seed(2);
  Tensors operands = {drawn({5, 96}), drawn({3, 96}), drawn({3})};
  expect_one_rounding(affine, exact_affine, operands, 0x1.01p-11);
  operands[1] = operands[1].detach();
  expect_one_rounding(affine, exact_affine, operands, 0x1.01p-11);
  operands[0] = operands[0].detach();
  expect_one_rounding(affine, exact_affine, operands, 0x1.01p-11);
}

TEST(Fp16Products, LinearMayLackABias) {
  at::manual_seed(3);
  const auto product = [](const Tensors& of) { return linear_product(of[0], of[1], at::Tensor()); };
  const auto exact = [](const Tensors& of) { return at::linear(of[0], of[1]); };
  expect_one_rounding(product, exact, {drawn({2, 7, 96}), drawn({40, 96})}, 0x1.01p-11);
}

TEST(Fp16Products, SumsMayLeaveTheRangeOfFp16OnTheirWay) {
  const at::Tensor x = at::full({1, 64}, 200, at::kHalf);
  const at::Tensor weight = at::cat({x.slice(1, 0, 32), x.slice(1, 32).neg()}, 1);
  EXPECT_EQ(linear_product(x, weight, at::full({1}, 3, at::kHalf)).item<float>(), 3);
}

// Backward starts from the rounded output, so that its gradients see two roundings.
TEST(Fp16Products, AttentionIsThatOfFp64) {
  at::manual_seed(4);
  const auto product = [](const Tensors& of) { return attention_product(of[0], of[1], of[2]); };
  const auto exact = [](const Tensors& of) { return at::scaled_dot_product_attention(of[0], of[1], of[2]); };
  const std::vector<int64_t> shape = {2, 17, 4, 8};  // as the executor has them, before it turns them
  const auto head = [&] { return drawn(shape).detach().transpose(1, 2).set_requires_grad(true); };
  expect_one_rounding(product, exact, {head(), head(), head()}, 0x1p-10);
}

TEST(Fp16Products, OtherPrecisionsAreLibTorchsOwn) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor x = at::randn({5, 16}).to(type), weight = at::randn({8, 16}).to(type),
                     bias = at::randn({8}).to(type);
    EXPECT_TRUE(at::equal(linear_product(x, weight, bias), at::linear(x, weight, bias)));
  }
}

}  // namespace
}  // namespace esp::vit::test
