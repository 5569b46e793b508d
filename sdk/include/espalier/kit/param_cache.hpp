// Blocks of parameters that are fetched before they are used and dropped when the room is needed.
#ifndef ESPALIER_KIT_PARAM_CACHE_HPP
#define ESPALIER_KIT_PARAM_CACHE_HPP

#include <espalier/kit/block_schedule.hpp>
#include <espalier/kit/slots.hpp>
#include <espalier/strategy.hpp>
#include <functional>
#include <optional>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// Made in prepare. Fetches run on a stream of its own, one unit ahead of the model at least; the block whose next use
// is farthest makes room. A step, training or evaluation, begins with nothing fetched, so that its work depends on
// nothing that was before. Fetched blocks are bound.
class ParamCache {
 public:
  // Fills destination[0, block.size()) with the block's parameters, in order on `stream`.
  using Fetch = std::function<void(const Block& block, void* destination, esp_stream stream)>;

  // train, eval: the blocks used at each position of view->train and view->eval. layout outlives the cache.
  ParamCache(const Host& host, const Layout& layout, BlockUses train, BlockUses eval, esp_dtype dtype,
             const Binder& binder, Fetch fetch)
      : host_(host),
        layout_(layout),
        train_(std::move(train)),
        eval_(std::move(eval)),
        dtype_(dtype),
        binder_(binder),
        fetch_(std::move(fetch)),
        stream_(host.device.new_stream(ESP_STREAM_DEVICE, kUrgent)),
        slots_(host, slots_needed(), largest_block() * ESP_DTYPE_BYTES(dtype), ESP_TAG_BUCKET),
        state_(layout.blocks().size()) {
    for (uint32_t i = 0; i < slots_.count(); ++i) arrived_.push_back(host.device.new_event());
  }

  uint32_t slots() const { return slots_.count(); }

  void begin_step(const esp_step& step) {
    slots_.begin_step();
    for (State& state : state_) state = State{};
    fetch_ahead(step, 0, {});
  }

  // In pre_*: what the item at step.pos uses is valid for work enqueued next on step.compute.
  void before(const esp_step& step) {
    const std::vector<uint32_t>& wanted = uses(step)[step.pos];
    for (uint32_t block : wanted) {
      if (!state_[block].fetched && !fetch(step, block, step.pos, wanted)) {
        fail(ESP_E_INTERNAL, "no room for block ", block, " at position ", step.pos);
      }
    }
    for (uint32_t block : wanted) {
      if (!state_[block].bound) bind(block, step.compute);
    }
    fetch_ahead(step, step.pos + 1, wanted);
  }

 private:
  struct State {
    bool fetched = false;
    bool bound = false;
    uint32_t slot = 0;
  };
  static constexpr int32_t kUrgent = -1;
  static constexpr uint32_t kNever = 0xffffffffu;

  const BlockUses& uses(const esp_step& step) const { return (step.flags & ESP_STEP_EVAL) != 0 ? eval_ : train_; }

  // Room for the blocks of one position and for one that is on its way.
  uint32_t slots_needed() const {
    size_t most = 0;
    for (const BlockUses* uses : {&train_, &eval_}) {
      for (const auto& blocks : *uses) most = std::max(most, blocks.size());
    }
    return static_cast<uint32_t>(std::min(most + 1, layout_.blocks().size()));
  }
  uint64_t largest_block() const {
    uint64_t largest = 0;
    for (const Block& block : layout_.blocks()) largest = std::max(largest, block.size());
    return largest;
  }

  uint32_t next_use(const BlockUses& uses, uint32_t block, uint32_t from) const {
    for (uint32_t pos = from; pos < uses.size(); ++pos) {
      if (std::find(uses[pos].begin(), uses[pos].end(), block) != uses[pos].end()) return pos;
    }
    return kNever;
  }

  // Whether there is a free slot now: one may be freed of a block that is used after `pos` only and not in `keep`.
  bool make_room(const esp_step& step, uint32_t pos, const std::vector<uint32_t>& keep) {
    if (slots_.any_free()) return true;
    uint32_t victim = kNever, farthest = pos;
    for (uint32_t block = 0; block < state_.size(); ++block) {
      if (!state_[block].fetched || std::find(keep.begin(), keep.end(), block) != keep.end()) continue;
      const uint32_t next = next_use(uses(step), block, step.pos);
      if (next > farthest) farthest = next, victim = block;
    }
    if (victim == kNever) return false;
    slots_.give_back(state_[victim].slot, step.compute);
    state_[victim] = State{};
    return true;
  }

  bool fetch(const esp_step& step, uint32_t block, uint32_t pos, const std::vector<uint32_t>& keep) {
    if (!make_room(step, pos, keep)) return false;
    const uint32_t slot = slots_.take(stream_);
    fetch_(layout_.blocks()[block], slots_.data(slot), stream_);
    host_.device.record(arrived_[slot], stream_);
    state_[block] = {true, false, slot};
    return true;
  }

  void fetch_ahead(const esp_step& step, uint32_t from, const std::vector<uint32_t>& keep) {
    for (uint32_t pos = from; pos < uses(step).size(); ++pos) {
      for (uint32_t block : uses(step)[pos]) {
        if (!state_[block].fetched && !fetch(step, block, pos, keep)) return;
      }
    }
  }

  void bind(uint32_t block, esp_stream compute) {
    host_.device.wait(compute, arrived_[state_[block].slot]);
    std::vector<esp_bind> binds;
    for (const Place& place : layout_.blocks()[block].places) {
      void* data = static_cast<char*>(slots_.data(state_[block].slot)) +
                   (place.offset - layout_.blocks()[block].begin) * ESP_DTYPE_BYTES(dtype_);
      binds.push_back({place.param, ESP_BIND_PARAM, data, dtype_, 0});
    }
    binder_.bind({binds.data(), binds.size()});
    state_[block].bound = true;
  }

  const Host& host_;
  const Layout& layout_;
  const BlockUses train_, eval_;
  const esp_dtype dtype_;
  const Binder binder_;
  const Fetch fetch_;
  const esp_stream stream_;
  Slots slots_;
  std::vector<esp_event> arrived_;  // [slots]
  std::vector<State> state_;        // [blocks]
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_PARAM_CACHE_HPP
