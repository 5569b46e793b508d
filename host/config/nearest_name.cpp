#include <algorithm>
#include <limits>
#include <vector>

#include "config/resolve.hpp"

namespace esp {
namespace {

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, current);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view wrong, std::span<const std::string> valid) {
  constexpr size_t kLongestName = 128;  // nobody mistypes more than that, and the cost is quadratic
  if (wrong.size() > kLongestName) return "";
  std::string nearest;
  size_t best = std::numeric_limits<size_t>::max();
  for (const std::string& name : valid) {
    const size_t distance = edit_distance(wrong, name);
    const size_t allowed = std::max<size_t>(1, std::min(wrong.size(), name.size()) / 3);
    if (distance <= allowed && distance < best) {
      best = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace esp
