// Whether two sets of numbers come from the same distribution.
#pragma once

#include <vector>

namespace esp::bench {

struct RankTest {
  double u = 0;        // of `a`: pairs in which a's number is the larger one, ties count half
  double p = 1;        // two-sided
  bool exact = false;  // else the normal approximation, with corrections for ties and continuity
};

// Mann-Whitney U. Exact for small sets without ties. Neither set is empty.
RankTest mann_whitney(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace esp::bench
