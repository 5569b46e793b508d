#include <algorithm>

#include "attention_check.hpp"

namespace esp::vit::fused::test {

int failures = 0;

std::vector<float> head_of(const std::vector<float>& all, const Size& size, int image, int column, size_t stride) {
  std::vector<float> out;
  for (int r = 0; r < size.tokens; ++r) {
    const size_t at = (static_cast<size_t>(image) * size.tokens + r) * stride + column;
    out.insert(out.end(), all.begin() + at, all.begin() + at + kWidth);
  }
  return out;
}

bool same(const std::string& what, const std::vector<float>& got, const std::vector<float>& wanted, int columns,
          double tolerance, double* error) {
  double difference = 0, norm = 0, largest = 0;
  for (const float w : wanted) {
    norm += static_cast<double>(w) * w;
    largest = std::max(largest, std::fabs(static_cast<double>(w)));
  }
  size_t bad = 0, first = 0;
  int rows[2] = {1 << 30, -1}, cols[2] = {1 << 30, -1};
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double d = std::fabs(static_cast<double>(got[i]) - wanted[i]);
    difference += d * d;
    if (d <= 8 * tolerance * std::fabs(wanted[i]) + tolerance * largest) continue;
    if (bad++ == 0) first = i;
    const int r = static_cast<int>(i / columns), c = static_cast<int>(i % columns);
    rows[0] = std::min(rows[0], r), rows[1] = std::max(rows[1], r);
    cols[0] = std::min(cols[0], c), cols[1] = std::max(cols[1], c);
  }
  const double relative = norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
  if (error != nullptr) *error = relative;
  if (bad == 0 && relative <= tolerance) return true;
  ++failures;
  std::printf("FAIL %s: error %.2e (limit %.0e)", what.c_str(), relative, tolerance);
  if (bad > 0) {  // where, and around the first: what is there, and what should be
    std::printf(", %zu of %zu off, rows %d-%d, columns %d-%d; (%zu, %zu) is %.6g, not %.6g", bad, wanted.size(),
                rows[0], rows[1], cols[0], cols[1], first / columns, first % columns, got[first], wanted[first]);
    std::printf(" |");
    for (size_t i = first; i < std::min(first + 4, wanted.size()); ++i) std::printf(" %.4g", got[i]);
    std::printf(" | wanted");
    for (size_t i = first; i < std::min(first + 4, wanted.size()); ++i) std::printf(" %.4g", wanted[i]);
  }
  std::printf("\n");
  return false;
}

std::vector<int> sample_heads(const Size& size, int most) {
  std::vector<int> heads;
  for (int i = 0; i < std::min(most, size.all()); ++i) {
    heads.push_back(
        static_cast<int>(static_cast<int64_t>(i) * (size.all() - 1) / std::max(1, std::min(most, size.all()) - 1)));
  }
  return heads;
}

float dot(const float* a, const float* b) {
  float sum[8] = {};
  for (int i = 0; i < kWidth; ++i) sum[i % 8] += a[i] * b[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void add(float* to, float by, const float* from) {
  for (int i = 0; i < kWidth; ++i) to[i] += by * from[i];
}

Plain plain_head(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v, int n) {
  Plain plain;
  plain.p.resize(static_cast<size_t>(n) * n), plain.lse.resize(n);
  plain.out.assign(static_cast<size_t>(n) * kWidth, 0);
  for (int i = 0; i < n; ++i) {
    float* p = &plain.p[static_cast<size_t>(i) * n];
    float top = -INFINITY;
    double sum = 0;
    for (int j = 0; j < n; ++j) top = std::max(top, p[j] = dot(&q[i * kWidth], &k[j * kWidth]) * 0.125f);
    for (int j = 0; j < n; ++j) sum += p[j] = std::exp(p[j] - top);
    plain.lse[i] = static_cast<float>(top * 1.4426950408889634 + std::log2(sum));
    for (int j = 0; j < n; ++j) {
      p[j] = static_cast<float>(p[j] / sum);
      add(&plain.out[i * kWidth], p[j], &v[j * kWidth]);
    }
  }
  return plain;
}

std::vector<ForwardVariant> forward_variants(bool wgmma) {
  std::vector<ForwardVariant> out{{"mma", [](const Size&) { return true; }, forward_by_warps}};
  if (!wgmma) return out;
  for (const int groups : {1, 4}) {
    out.push_back({"wgmma" + std::to_string(groups),
                   [groups](const Size& size) {
                     const bool close = size.tokens > 192 && size.tokens <= 200;
                     return wgmma::takes_forward(size.shape()) && (close || groups == 1);
                   },
                   [groups](const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse) {
                     wgmma::forward(launch, shape, qkv, out, lse, groups);
                   }});
  }
  return out;
}

std::vector<BackwardVariant> backward_variants(bool wgmma) {
  std::vector<BackwardVariant> out{{"mma", [](const Size&) { return true; }, backward_by_warps}};
  if (!wgmma) return out;
  out.push_back({"wgmma", [](const Size& size) { return wgmma::takes_backward(size.shape()); }, wgmma::backward});
  return out;
}

}  // namespace esp::vit::fused::test
