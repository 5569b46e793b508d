#include "initial_values.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace esp::vit {
namespace {

TEST(InitialValues, PartsAreThePartsOfTheWhole) {
  std::vector<float> whole(1000), part(1000);
  fill_normal("vit.a.weight", 42, 0.02, 0, 1000, whole.data());
  for (const uint64_t cut : {1u, 7u, 500u, 999u}) {
    fill_normal("vit.a.weight", 42, 0.02, cut, 1000, part.data() + cut);
    fill_normal("vit.a.weight", 42, 0.02, 0, cut, part.data());
    EXPECT_EQ(part, whole) << cut;
  }
}

TEST(InitialValues, DifferBetweenSeedsAndNames) {
  std::vector<float> a(100), b(100), c(100);
  fill_normal("a", 1, 1, 0, 100, a.data());
  fill_normal("a", 2, 1, 0, 100, b.data());
  fill_normal("b", 1, 1, 0, 100, c.data());
  for (size_t i = 0; i < 100; ++i) EXPECT_TRUE(a[i] != b[i] && a[i] != c[i]) << i;
}

TEST(InitialValues, HaveTheMomentsOfANormalDistribution) {
  const size_t n = 200000;
  std::vector<float> x(n);
  fill_normal("w", 3, 0.02, 0, n, x.data());
  double mean = 0, square = 0, fourth = 0, lag = 0;
  for (size_t i = 0; i < n; ++i) {
    const double z = x[i] / 0.02;
    mean += z / n;
    square += z * z / n;
    fourth += z * z * z * z / n;
    if (i > 0) lag += z * x[i - 1] / 0.02 / n;
  }
  EXPECT_NEAR(mean, 0, 0.01);
  EXPECT_NEAR(square, 1, 0.015);
  EXPECT_NEAR(fourth, 3, 0.1);
  EXPECT_NEAR(lag, 0, 0.01);
}

TEST(InitialValues, AreCutOffAtTwo) {
  std::vector<float> x(10000);
  fill_normal("w", 3, 1, 0, x.size(), x.data());
  size_t at_cut = 0;
  for (const float v : x) {
    EXPECT_LE(std::abs(v), 2.0f);
    at_cut += std::abs(v) == 2.0f;
  }
  EXPECT_NEAR(static_cast<double>(at_cut) / 1e4, 0.0455, 0.01);
}

TEST(InitialValues, QuantilesInvertTheDistributionFunction) {
  for (const double p : {1e-15, 1e-6, 0.01, 0.074, 0.076, 0.3, 0.5, 0.7, 0.95, 0.999999}) {
    const double back = 0.5 * std::erfc(-normal_quantile(p) / std::sqrt(2.0));
    EXPECT_NEAR(back / p, 1, 1e-12) << p;
  }
}

}  // namespace
}  // namespace esp::vit
