// Where the weights are that the model computes with.
#pragma once

#include <espalier/kit/param_cache.hpp>
#include <memory>
#include <vector>

#include "sharding.hpp"

namespace zero {

class Weights {
 public:
  virtual ~Weights() = default;
  virtual uint32_t variant() noexcept = 0;
  virtual void begin_step(const esp_step& step) = 0;
  virtual void before(const esp_step& step) = 0;  // in pre_*
  virtual void own_parts_loaded() = 0;            // between steps
  // This rank's part of a block, in the compute dtype. The optimizer writes it.
  virtual void* own(const esp::kit::Block& block) const = 0;
};

// Stages 1 and 2: whole on every rank. The parts that the ranks have updated are gathered at the start of the next
// step, block by block in the order of use, while the units before them compute.
class WholeWeights : public Weights {
 public:
  WholeWeights(const Sharding& sharding, const esp_view& view, const esp::Binder& binder);
  uint32_t variant() noexcept override;
  void begin_step(const esp_step& step) override;
  void before(const esp_step& step) override;
  void own_parts_loaded() override;
  void* own(const esp::kit::Block& block) const override;

 private:
  void gather(const esp::kit::Block& block, esp_stream stream) const;

  const Sharding& sharding_;
  esp::Buffer arena_;
  esp::kit::BlockUses train_arrivals_, eval_arrivals_;  // [position]: trained blocks used for the first time
  esp_stream stream_ = nullptr;
  std::vector<esp_event> arrived_;  // [trained blocks]
  bool stale_ = false;              // other ranks have updated their parts since they were gathered
  bool gathering_ = false;          // in this step
};

// Stage 3: each rank holds its parts; blocks are gathered into a few slots around their use.
class ShardedWeights : public Weights {
 public:
  ShardedWeights(const Sharding& sharding, const esp_view& view, const esp::Binder& binder);
  uint32_t variant() noexcept override { return 0; }
  void begin_step(const esp_step& step) override { cache_.begin_step(step); }
  void before(const esp_step& step) override { cache_.before(step); }
  void own_parts_loaded() override {}
  void* own(const esp::kit::Block& block) const override;

 private:
  const Sharding& sharding_;
  const esp::Buffer parts_;
  esp::kit::ParamCache cache_;
};

}  // namespace zero
