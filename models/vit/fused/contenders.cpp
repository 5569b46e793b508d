#include "contenders.hpp"

#include <algorithm>

namespace esp::vit::fused {

float Contender::median() const {
  std::vector<float> sorted = ms;
  const auto middle = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

void keep_fastest(std::vector<Contender>& contenders, float within, size_t most) {
  std::erase_if(contenders, [](const Contender& one) { return one.fails || one.ms.empty(); });
  if (contenders.empty()) return;
  std::stable_sort(contenders.begin(), contenders.end(),
                   [](const Contender& one, const Contender& other) { return one.median() < other.median(); });
  const float limit = contenders.front().median() * within;
  std::erase_if(contenders, [limit](const Contender& one) { return one.median() > limit; });
  if (contenders.size() > most) contenders.resize(most);
}

}  // namespace esp::vit::fused
