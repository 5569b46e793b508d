// How much slower one set of runs is than another, with the uncertainty of that.
#pragma once

#include <vector>

namespace esp::bench {

using Runs = std::vector<std::vector<double>>;  // step times of each run; none is empty

struct Interval {
  double low = 0, middle = 0, high = 0;
};

// Median of b over median of a, and its 95 % interval: bootstrap with a fixed seed. Runs are drawn anew, and in each of
// them blocks of neighbouring steps, since neighbours resemble each other.
Interval ratio_of_medians(const Runs& a, const Runs& b);

double pooled_median(const Runs& runs);

}  // namespace esp::bench
