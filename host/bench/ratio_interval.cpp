#include "bench/ratio_interval.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>

#include "report/statistics.hpp"

namespace esp::bench {
namespace {

constexpr int kDraws = 1000;
constexpr uint64_t kSeed = 20240417;

class Bootstrap {
 public:
  double median(const Runs& runs) {
    drawn_.clear();
    for (size_t i = 0; i < runs.size(); ++i) add_run(runs[below(runs.size())]);
    const auto middle = drawn_.begin() + static_cast<std::ptrdiff_t>(drawn_.size() / 2);
    std::nth_element(drawn_.begin(), middle, drawn_.end());
    if (drawn_.size() % 2 == 1) return *middle;
    return (*middle + *std::max_element(drawn_.begin(), middle)) / 2;
  }

 private:
  // Not std::uniform_int_distribution: its numbers differ from one standard library to the next.
  size_t below(size_t n) { return static_cast<size_t>(random_() % n); }

  void add_run(const std::vector<double>& steps) {
    const auto block = static_cast<size_t>(std::max(1.0, std::round(std::cbrt(static_cast<double>(steps.size())))));
    const size_t starts = steps.size() - block + 1;
    for (size_t added = 0; added < steps.size();) {
      const size_t start = below(starts);
      for (size_t i = 0; i < block && added < steps.size(); ++i, ++added) drawn_.push_back(steps[start + i]);
    }
  }

  std::mt19937_64 random_{kSeed};
  std::vector<double> drawn_;
};

}  // namespace

double pooled_median(const Runs& runs) {
  std::vector<double> all;
  for (const auto& run : runs) all.insert(all.end(), run.begin(), run.end());
  return quantile(std::move(all), 0.5);
}

Interval ratio_of_medians(const Runs& a, const Runs& b) {
  Bootstrap bootstrap;
  std::vector<double> ratios;
  for (int draw = 0; draw < kDraws; ++draw) ratios.push_back(bootstrap.median(b) / bootstrap.median(a));
  return {quantile(ratios, 0.025), pooled_median(b) / pooled_median(a), quantile(ratios, 0.975)};
}

}  // namespace esp::bench
