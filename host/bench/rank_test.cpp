#include "bench/rank_test.hpp"

#include <algorithm>
#include <cmath>

namespace esp::bench {
namespace {

constexpr size_t kExactUpTo = 20;  // numbers in each set

struct Ranked {
  double rank_sum_of_a = 0;
  double tie_term = 0;  // sum of t^3 - t over groups of t equal numbers
};

Ranked rank(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<std::pair<double, bool>> all;  // value, of a
  for (const double value : a) all.emplace_back(value, true);
  for (const double value : b) all.emplace_back(value, false);
  std::sort(all.begin(), all.end());
  Ranked ranked;
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin;
    while (end < all.size() && all[end].first == all[begin].first) ++end;
    const double shared_rank = (static_cast<double>(begin + 1) + static_cast<double>(end)) / 2;
    for (size_t i = begin; i < end; ++i) ranked.rank_sum_of_a += all[i].second ? shared_rank : 0;
    const auto ties = static_cast<double>(end - begin);
    ranked.tie_term += ties * ties * ties - ties;
    begin = end;
  }
  return ranked;
}

// P(U <= u): how many of the orders of n + m numbers have at most u pairs in which a's is larger.
double exact_tail(size_t n, size_t m, size_t u) {
  // ways[j][k]: orders of i numbers of a and j of b with k such pairs. The last number is a's, and larger than all j of
  // b's, or it is b's.
  std::vector<std::vector<double>> ways(m + 1, std::vector<double>(n * m + 1, 0));
  for (auto& row : ways) row[0] = 1;  // i = 0
  for (size_t i = 1; i <= n; ++i) {
    auto next = ways;
    for (size_t j = 0; j <= m; ++j) {
      for (size_t k = 0; k <= n * m; ++k) {
        const double last_of_a = k >= j ? ways[j][k - j] : 0;
        const double last_of_b = j > 0 ? next[j - 1][k] : 0;
        next[j][k] = last_of_a + last_of_b;
      }
    }
    ways = std::move(next);
  }
  double below = 0, all = 0;
  for (size_t k = 0; k <= n * m; ++k) {
    all += ways[m][k];
    below += k <= u ? ways[m][k] : 0;
  }
  return below / all;
}

double normal_p(double u, double n, double m, double tie_term) {
  const double mean = n * m / 2, total = n + m;
  const double variance = n * m / 12 * (total + 1 - tie_term / (total * (total - 1)));
  if (!(variance > 0)) return 1;  // all numbers are equal
  const double z = std::max(0.0, std::abs(u - mean) - 0.5) / std::sqrt(variance);
  return std::erfc(z / std::sqrt(2.0));
}

}  // namespace

RankTest mann_whitney(const std::vector<double>& a, const std::vector<double>& b) {
  const Ranked ranked = rank(a, b);
  const auto n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  RankTest test;
  test.u = ranked.rank_sum_of_a - n * (n + 1) / 2;
  test.exact = ranked.tie_term == 0 && a.size() <= kExactUpTo && b.size() <= kExactUpTo;
  if (test.exact) {
    const double smaller = std::min(test.u, n * m - test.u);
    test.p = std::min(1.0, 2 * exact_tail(a.size(), b.size(), static_cast<size_t>(std::lround(smaller))));
  } else {
    test.p = normal_p(test.u, n, m, ranked.tie_term);
  }
  return test;
}

}  // namespace esp::bench
