#include "weights.hpp"

#include <espalier/kit/priority.hpp>

namespace zero {

using esp::kit::Block;
using esp::kit::BlockUses;

namespace {

BlockUses first_uses(const Sharding& sharding, BlockUses uses) {
  std::vector<bool> seen(sharding.layout.blocks().size());
  for (std::vector<uint32_t>& blocks : uses) {
    std::vector<uint32_t> first;
    for (uint32_t block : blocks) {
      if (block < sharding.n_trained && !seen[block]) first.push_back(block);
      seen[block] = true;
    }
    blocks = std::move(first);
  }
  return uses;
}

}  // namespace

WholeWeights::WholeWeights(const Sharding& sharding, const esp_view& view, const esp::Binder& binder)
    : sharding_(sharding),
      arena_(sharding.host.memory.device(sharding.layout.size() * ESP_DTYPE_BYTES(sharding.compute_t), ESP_TAG_PARAM,
                                         ESP_MEM_COMM)) {
  std::vector<esp_bind> binds;
  for (const Block& block : sharding.layout.blocks()) {
    for (const esp::kit::Place& place : block.places) {
      binds.push_back(
          {place.param, ESP_BIND_PARAM, arena_.at(place.offset, sharding.compute_t), sharding.compute_t, 0});
    }
  }
  binder.bind({binds.data(), binds.size()});
  if (sharding.alone()) return;
  train_arrivals_ = first_uses(sharding, block_uses(view, view.train, view.n_train, sharding.layout));
  eval_arrivals_ = first_uses(sharding, block_uses(view, view.eval, view.n_eval, sharding.layout));
  stream_ = sharding.host.device.new_stream(ESP_STREAM_DEVICE, esp::kit::kUrgent);
  for (uint32_t i = 0; i < sharding.n_trained; ++i) arrived_.push_back(sharding.host.device.new_event());
}

// A training step leaves the weights stale, whether its hooks run or a recording of it is replayed: so this is noted
// here.
uint32_t WholeWeights::variant() noexcept {
  const bool gathers = stale_;
  stale_ = !sharding_.alone();
  return gathers ? 1 : 0;
}

void WholeWeights::begin_step(const esp_step& step) {
  const bool evaluates = (step.flags & ESP_STEP_EVAL) != 0;
  gathering_ = evaluates ? stale_ : step.variant == 1;
  if (evaluates) stale_ = false;
  if (!gathering_) return;
  for (const auto& blocks : evaluates ? eval_arrivals_ : train_arrivals_) {
    for (uint32_t block : blocks) {
      gather(sharding_.layout.blocks()[block], stream_);
      sharding_.host.device.record(arrived_[block], stream_);
    }
  }
}

void WholeWeights::before(const esp_step& step) {
  if (!gathering_) return;
  const BlockUses& arrivals = (step.flags & ESP_STEP_EVAL) != 0 ? eval_arrivals_ : train_arrivals_;
  for (uint32_t block : arrivals[step.pos]) sharding_.host.device.wait(step.compute, arrived_[block]);
}

void WholeWeights::own_parts_loaded() {
  if (sharding_.alone()) return;
  for (const Block& block : sharding_.layout.blocks()) gather(block, sharding_.host.device.compute());
  stale_ = false;
}

void* WholeWeights::own(const Block& block) const {
  return arena_.at(sharding_.partition.begin(block), sharding_.compute_t);
}

void WholeWeights::gather(const Block& block, esp_stream stream) const {
  sharding_.host.comm.all_gather(sharding_.group, own(block), arena_.at(block.begin, sharding_.compute_t),
                                 sharding_.partition.size(block), sharding_.compute_t, stream);
}

ShardedWeights::ShardedWeights(const Sharding& sharding, const esp_view& view, const esp::Binder& binder)
    : sharding_(sharding),
      parts_(sharding.host.memory.device(sharding.partition.size(sharding.layout) * ESP_DTYPE_BYTES(sharding.compute_t),
                                         ESP_TAG_PARAM, ESP_MEM_COMM)),
      cache_(sharding.host, sharding.layout, block_uses(view, view.train, view.n_train, sharding.layout),
             block_uses(view, view.eval, view.n_eval, sharding.layout), sharding.compute_t, binder,
             [this](const Block& block, void* destination, esp_stream stream) {
               sharding_.host.comm.all_gather(sharding_.group, own(block), destination, sharding_.partition.size(block),
                                              sharding_.compute_t, stream);
             }) {}

void* ShardedWeights::own(const Block& block) const {
  return parts_.at(sharding_.partition.at(block), sharding_.compute_t);
}

}  // namespace zero
