// States of blocks, and the only ways from one to another.
#ifndef ESPALIER_KIT_LIFECYCLE_HPP
#define ESPALIER_KIT_LIFECYCLE_HPP

#include <algorithm>
#include <espalier/failure.hpp>
#include <utility>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// State: an enum whose values start at 0. A transition that is not listed is a mistake of the strategy, told with the
// block and both states.
template <class State>
class Lifecycle {
 public:
  using Transitions = std::vector<std::pair<State, State>>;

  // Every block begins as State{}. what: the thing that has the state; names: [State] static texts.
  Lifecycle(const char* what, std::vector<const char*> names, Transitions legal, size_t n)
      : what_(what), names_(std::move(names)), legal_(std::move(legal)), states_(n) {}

  State of(uint32_t block) const { return states_[block]; }
  bool is(uint32_t block, State state) const { return states_[block] == state; }
  size_t size() const { return states_.size(); }

  // Throws Failure (ESP_E_INTERNAL) when the way is not legal.
  void enter(uint32_t block, State to) {
    const State from = states_.at(block);
    if (std::find(legal_.begin(), legal_.end(), std::make_pair(from, to)) == legal_.end()) {
      fail(ESP_E_INTERNAL, what_, " of block ", block, " are ", name(from), " and cannot become ", name(to));
    }
    states_[block] = to;
  }
  // Between steps: whatever they were.
  void reset() { std::fill(states_.begin(), states_.end(), State{}); }

 private:
  const char* name(State state) const { return names_[static_cast<size_t>(state)]; }

  const char* what_;
  const std::vector<const char*> names_;
  const Transitions legal_;
  std::vector<State> states_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_LIFECYCLE_HPP
