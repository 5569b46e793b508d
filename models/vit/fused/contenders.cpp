#include "contenders.hpp"

#include <algorithm>

namespace esp::vit::fused {

float Contender::time() const {
  std::vector<float> sorted = ms;
  const auto middle = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle + handicap;
}

void keep_fastest(std::vector<Contender>& contenders, float within, size_t most) {
  std::erase_if(contenders, [](const Contender& one) { return one.fails || one.ms.empty(); });
  if (contenders.empty()) return;
  std::stable_sort(contenders.begin(), contenders.end(),
                   [](const Contender& one, const Contender& other) { return one.time() < other.time(); });
  const float limit = contenders.front().time() * within;
  std::erase_if(contenders, [limit](const Contender& one) { return one.time() > limit; });
  if (contenders.size() > most) contenders.resize(most);
}

}  // namespace esp::vit::fused
