// Where gradients are written, and how each rank comes to its part of their mean.
#pragma once

#include <espalier/kit/shard_reducer.hpp>

#include "sharding.hpp"

namespace zero {

class Gradients {
 public:
  virtual ~Gradients() = default;
  virtual void begin_step() {}
  virtual void open(const esp_step&) {}          // in pre_backward
  virtual void close(const esp_step& step) = 0;  // in post_backward
  // This rank's part of a block: final on the stream of the reductions behind the block's last window.
  virtual void* own(const esp::kit::Block& block) const = 0;
  virtual esp_dtype dtype() const = 0;
};

// Stage 1: whole on every rank, where they accumulate; reduced once a step, in place.
class WholeGradients : public Gradients {
 public:
  WholeGradients(const Sharding& sharding, const esp::Binder& binder, esp_stream stream);
  void close(const esp_step& step) override;
  void* own(const esp::kit::Block& block) const override;
  esp_dtype dtype() const override { return sharding_.compute_t; }

 private:
  const Sharding& sharding_;
  const esp_stream stream_;
  const esp::kit::Fence fence_;
  const esp::Buffer arena_;
};

// Stages 2 and 3: whole only between a block's first backward and its reduction, in every micro-batch.
class ShardedGradients : public Gradients {
 public:
  ShardedGradients(const Sharding& sharding, const esp::Binder& binder, esp_stream stream)
      : reducer_(sharding.host, sharding.group, sharding.layout, sharding.n_trained, sharding.windows,
                 sharding.partition, sharding.compute_t, binder, stream) {}
  void begin_step() override { reducer_.begin_step(); }
  void open(const esp_step& step) override { reducer_.open(step); }
  void close(const esp_step& step) override { reducer_.close(step); }
  void* own(const esp::kit::Block& block) const override { return reducer_.shard(block); }
  esp_dtype dtype() const override { return reducer_.shard_dtype(); }

 private:
  esp::kit::ShardReducer reducer_;
};

}  // namespace zero
