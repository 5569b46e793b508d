#include "verify/gradient_comparison.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace esp::verify {
namespace {

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::fabs(value));
  return most;
}

double largest_of_all(const Gradients& gradients) {
  double most = 0;
  for (const auto& values : gradients) most = std::max(most, largest(values));
  return most;
}

}  // namespace

std::string first_difference(const esp_model_desc& desc, const Gradients& got, const Gradients& expected, double room,
                             double factor) {
  // Gradients that are zero but for rounding are measured by the size of the others.
  const double floor = 1e-3 * largest_of_all(expected);
  for (size_t p = 0; p < std::min(got.size(), expected.size()); ++p) {
    const double allowed = room * std::fabs(factor) * std::max(largest(expected[p]), floor);
    for (size_t i = 0; i < std::min(got[p].size(), expected[p].size()); ++i) {
      const double wanted = factor * expected[p][i];
      if (std::fabs(got[p][i] - wanted) <= allowed) continue;  // false where one is NaN
      std::ostringstream text;
      text.precision(9);
      text << "the gradient of " << desc.params[p]->name << ", element " << i << ", is " << got[p][i] << ", not "
           << wanted;
      return text.str();
    }
  }
  return "";
}

double cosine(const Gradients& a, const Gradients& b) {
  double both = 0, squares_a = 0, squares_b = 0;
  for (size_t p = 0; p < a.size(); ++p) {
    for (size_t i = 0; i < a[p].size(); ++i) {
      both += a[p][i] * b[p][i];
      squares_a += a[p][i] * a[p][i];
      squares_b += b[p][i] * b[p][i];
    }
  }
  return squares_a == 0 && squares_b == 0 ? 1 : both / std::sqrt(squares_a * squares_b);
}

Gradients sum(const Gradients& a, const Gradients& b) {
  Gradients result = a;
  for (size_t p = 0; p < result.size(); ++p) {
    for (size_t i = 0; i < result[p].size(); ++i) result[p][i] += b[p][i];
  }
  return result;
}

}  // namespace esp::verify
