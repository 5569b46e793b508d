// When blocks are used in a step: read off the schedule, once, in prepare.
#ifndef ESPALIER_KIT_BLOCK_SCHEDULE_HPP
#define ESPALIER_KIT_BLOCK_SCHEDULE_HPP

#include <espalier/kit/layout.hpp>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// By position: indices of the blocks that the item there uses, each once.
using BlockUses = std::vector<std::vector<uint32_t>>;

inline BlockUses block_uses(const esp_view& view, const esp_item* items, uint32_t n, const Layout& layout) {
  static constexpr uint32_t kNone = 0xffffffffu;
  std::vector<uint32_t> block_of(view.n_params, kNone);
  for (const Block& block : layout.blocks()) {
    for (const Place& place : block.places) block_of[place.param] = block.index;
  }
  BlockUses uses(n);
  for (uint32_t pos = 0; pos < n; ++pos) {
    const esp_unit& unit = *view.units[items[pos].unit];
    for (uint32_t i = 0; i < unit.n_uses; ++i) {
      const uint32_t block = block_of[unit.uses[i]];
      if (block == kNone) continue;
      if (std::find(uses[pos].begin(), uses[pos].end(), block) == uses[pos].end()) uses[pos].push_back(block);
    }
  }
  return uses;
}

// From the first backward of a micro-batch that adds to a block's gradients to the last one: then they are complete and
// can be reduced. Micro-batches that overlap in a block share a window.
struct Window {
  uint32_t block;
  uint32_t open_at, close_at;  // positions in view.train
  bool first, last;            // of the block's windows in a step; behind the last the gradient is final
};

class Windows {
 public:
  Windows() = default;
  // Of the first n_blocks blocks of the layout (those that are trained).
  Windows(const esp_view& view, const Layout& layout, uint32_t n_blocks)
      : count_(n_blocks, 0), opens_(view.n_train), closes_(view.n_train) {
    const BlockUses uses = block_uses(view, view.train, view.n_train, layout);
    for (uint32_t block = 0; block < n_blocks; ++block) {
      const std::vector<Window> windows = windows_of(view, uses, block);
      count_[block] = static_cast<uint32_t>(windows.size());
      for (const Window& window : windows) {
        opens_[window.open_at].push_back(window);
        closes_[window.close_at].push_back(window);
      }
    }
  }

  const std::vector<Window>& opens(uint32_t pos) const { return opens_[pos]; }
  const std::vector<Window>& closes(uint32_t pos) const { return closes_[pos]; }
  // Windows of a block in a step; 0: no backward touches it and its gradient stays as it is.
  uint32_t count(uint32_t block) const { return count_[block]; }

  // Windows that are open at once, at most.
  uint32_t most_open() const {
    return most_open([](uint32_t) { return true; });
  }
  // Of the blocks that counts(block) says.
  template <class Counts>
  uint32_t most_open(const Counts& counts) const {
    const auto is_counted = [&](const Window& window) { return counts(window.block); };
    size_t open = 0, most = 0;
    for (size_t pos = 0; pos < opens_.size(); ++pos) {
      open += static_cast<size_t>(std::count_if(opens_[pos].begin(), opens_[pos].end(), is_counted));
      most = std::max(most, open);
      open -= static_cast<size_t>(std::count_if(closes_[pos].begin(), closes_[pos].end(), is_counted));
    }
    return static_cast<uint32_t>(most);
  }

 private:
  static std::vector<Window> windows_of(const esp_view& view, const BlockUses& uses, uint32_t block) {
    std::map<uint32_t, Window> by_micro;
    for (uint32_t pos = 0; pos < view.n_train; ++pos) {
      const esp_item& item = view.train[pos];
      if (item.phase != ESP_BWD || std::find(uses[pos].begin(), uses[pos].end(), block) == uses[pos].end()) continue;
      by_micro.try_emplace(item.micro, Window{block, pos, pos, false, false}).first->second.close_at = pos;
    }
    std::vector<Window> sorted, merged;
    for (const auto& [micro, window] : by_micro) sorted.push_back(window);
    std::sort(sorted.begin(), sorted.end(), [](const Window& a, const Window& b) { return a.open_at < b.open_at; });
    for (const Window& window : sorted) {
      if (merged.empty() || window.open_at > merged.back().close_at) {
        merged.push_back(window);
      } else {
        merged.back().close_at = std::max(merged.back().close_at, window.close_at);
      }
    }
    if (!merged.empty()) merged.front().first = merged.back().last = true;
    return merged;
  }

  std::vector<uint32_t> count_;
  std::vector<std::vector<Window>> opens_, closes_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_BLOCK_SCHEDULE_HPP
