// Blocks of parameters that are fetched before they are used and dropped when the room is needed.
#ifndef ESPALIER_KIT_PARAM_CACHE_HPP
#define ESPALIER_KIT_PARAM_CACHE_HPP

#include <espalier/kit/block_schedule.hpp>
#include <espalier/kit/lifecycle.hpp>
#include <espalier/kit/priority.hpp>
#include <espalier/kit/slots.hpp>
#include <espalier/strategy.hpp>
#include <functional>
#include <set>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// A fetched block: on its way, valid and bound, read by the unit that runs.
enum class Fetched : uint32_t { kNo, kArriving, kBound, kInUse };

// Made in prepare or adapt. Fetches run on a stream of their own, one unit ahead of the model at least; the block whose
// next use is farthest makes room. A step, training or evaluation, begins with nothing fetched, so that its work
// depends on nothing that was before. Fetched blocks are bound. A unit's use of a block ends when the next unit begins.
class ParamCache {
 public:
  // Fills destination[0, block.size()) with the block's parameters, in order on `stream`.
  using Fetch = std::function<void(const Block& block, void* destination, esp_stream stream)>;

  struct Settings {
    bool ahead = true;            // fetch before the unit that needs it begins
    uint32_t slots = 0;           // at least the needed ones; more keep more blocks
    esp_stream stream = nullptr;  // a device stream to fetch on; NULL = one of the cache's own
  };

  // Room for the blocks of one position and, ahead, for one that is on its way.
  static uint32_t slots_needed(const BlockUses& train, const BlockUses& eval, bool ahead) {
    size_t most = 0;
    for (const BlockUses* uses : {&train, &eval}) {
      for (const auto& blocks : *uses) most = std::max(most, blocks.size());
    }
    return static_cast<uint32_t>(std::min(most + (ahead ? 1 : 0), used_blocks(train, eval).size()));
  }
  static std::set<uint32_t> used_blocks(const BlockUses& train, const BlockUses& eval) {
    std::set<uint32_t> used;
    for (const BlockUses* uses : {&train, &eval}) {
      for (const auto& blocks : *uses) used.insert(blocks.begin(), blocks.end());
    }
    return used;
  }

  // train, eval: the blocks used at each position of view->train and view->eval; those that the cache is to know and no
  // others. layout outlives the cache.
  ParamCache(const Host& host, const Layout& layout, BlockUses train, BlockUses eval, esp_dtype dtype,
             const Binder& binder, Fetch fetch)
      : ParamCache(host, layout, std::move(train), std::move(eval), dtype, binder, std::move(fetch), Settings()) {}
  ParamCache(const Host& host, const Layout& layout, BlockUses train, BlockUses eval, esp_dtype dtype,
             const Binder& binder, Fetch fetch, const Settings& settings)
      : host_(host),
        layout_(layout),
        train_(std::move(train)),
        eval_(std::move(eval)),
        dtype_(dtype),
        binder_(binder),
        fetch_(std::move(fetch)),
        stream_(settings.stream != nullptr ? settings.stream : host.device.new_stream(ESP_STREAM_DEVICE, kUrgent)),
        ahead_(settings.ahead),
        slots_(host, std::max(settings.slots, slots_needed(train_, eval_, settings.ahead)),
               largest_block() * ESP_DTYPE_BYTES(dtype), ESP_TAG_BUCKET),
        slot_of_(layout.blocks().size()),
        states_("weights", {"not fetched", "arriving", "bound", "in use"},
                {{Fetched::kNo, Fetched::kArriving},
                 {Fetched::kArriving, Fetched::kBound},
                 {Fetched::kArriving, Fetched::kNo},
                 {Fetched::kBound, Fetched::kInUse},
                 {Fetched::kBound, Fetched::kNo},
                 {Fetched::kInUse, Fetched::kBound}},
                layout.blocks().size()) {
    for (uint32_t i = 0; i < slots_.count(); ++i) arrived_.push_back(host.device.new_event());
  }

  uint32_t slots() const { return slots_.count(); }

  void begin_step(const esp_step& step) {
    slots_.begin_step();
    states_.reset();
    in_use_.clear();
    fetch_ahead(step, 0, {});
  }

  // In pre_*: what the item at step.pos uses is valid for work enqueued next on step.compute.
  void before(const esp_step& step) {
    const std::vector<uint32_t>& wanted = uses(step)[step.pos];
    for (uint32_t block : in_use_) states_.enter(block, Fetched::kBound);
    for (uint32_t block : wanted) {
      if (states_.is(block, Fetched::kNo) && !fetch(step, block, step.pos, wanted)) {
        fail(ESP_E_INTERNAL, "no room for block ", block, " at position ", step.pos);
      }
    }
    for (uint32_t block : wanted) {
      if (states_.is(block, Fetched::kArriving)) bind(block, step.compute);
      states_.enter(block, Fetched::kInUse);
    }
    in_use_ = wanted;
    fetch_ahead(step, step.pos + 1, wanted);
  }

 private:
  static constexpr uint32_t kNever = 0xffffffffu;

  const BlockUses& uses(const esp_step& step) const { return (step.flags & ESP_STEP_EVAL) != 0 ? eval_ : train_; }

  uint64_t largest_block() const {
    uint64_t largest = 0;
    for (uint32_t block : used_blocks(train_, eval_)) largest = std::max(largest, layout_.blocks()[block].size());
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
    for (uint32_t block = 0; block < states_.size(); ++block) {
      if (states_.is(block, Fetched::kNo) || std::find(keep.begin(), keep.end(), block) != keep.end()) continue;
      const uint32_t next = next_use(uses(step), block, step.pos);
      if (next > farthest) farthest = next, victim = block;
    }
    if (victim == kNever) return false;
    states_.enter(victim, Fetched::kNo);
    slots_.give_back(slot_of_[victim], step.compute);
    return true;
  }

  bool fetch(const esp_step& step, uint32_t block, uint32_t pos, const std::vector<uint32_t>& keep) {
    if (!make_room(step, pos, keep)) return false;
    const uint32_t slot = slots_.take(stream_);
    fetch_(layout_.blocks()[block], slots_.data(slot), stream_);
    host_.device.record(arrived_[slot], stream_);
    slot_of_[block] = slot;
    states_.enter(block, Fetched::kArriving);
    return true;
  }

  void fetch_ahead(const esp_step& step, uint32_t from, const std::vector<uint32_t>& keep) {
    if (!ahead_) return;
    for (uint32_t pos = from; pos < uses(step).size(); ++pos) {
      for (uint32_t block : uses(step)[pos]) {
        if (states_.is(block, Fetched::kNo) && !fetch(step, block, pos, keep)) return;
      }
    }
  }

  void bind(uint32_t block, esp_stream compute) {
    host_.device.wait(compute, arrived_[slot_of_[block]]);
    std::vector<esp_bind> binds;
    for (const Place& place : layout_.blocks()[block].places) {
      void* data = static_cast<char*>(slots_.data(slot_of_[block])) +
                   (place.offset - layout_.blocks()[block].begin) * ESP_DTYPE_BYTES(dtype_);
      binds.push_back({place.param, ESP_BIND_PARAM, data, dtype_, 0});
    }
    binder_.bind({binds.data(), binds.size()});
    states_.enter(block, Fetched::kBound);
  }

  const Host& host_;
  const Layout& layout_;
  const BlockUses train_, eval_;
  const esp_dtype dtype_;
  const Binder binder_;
  const Fetch fetch_;
  const esp_stream stream_;
  const bool ahead_;
  Slots slots_;
  std::vector<esp_event> arrived_;  // [slots]
  std::vector<uint32_t> slot_of_;   // [blocks] of those that are fetched
  Lifecycle<Fetched> states_;       // [blocks]
  std::vector<uint32_t> in_use_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_PARAM_CACHE_HPP
