// The shards that a strategy lists: their values in and out, whatever place and dtype they have.
#pragma once

#include <string>
#include <vector>

#include "runtime/comm/control_group.hpp"
#include "runtime/device/device.hpp"
#include "runtime/train/component_instance.hpp"
#include "runtime/train/model_view.hpp"

namespace esp::runtime {

struct Shard {
  uint32_t param = 0;
  std::string slot;
  uint64_t lo = 0, hi = 0;
  void* data = nullptr;
  esp_dtype dtype = ESP_F32;
  bool replicated = false;
};

// What values pass through on their way in and out.
struct ShardStaging {
  explicit ShardStaging(Device& device);
  static constexpr uint64_t kElements = uint64_t{1} << 16;  // counts towards the run's memory: kept small
  static constexpr uint64_t kDeviceBytes = kElements * sizeof(float);
  Arena arena;
  float* pinned;   // [kElements]
  float* scratch;  // [kElements] device
};

// Made when state is filled or read, and gone while training.
class ShardState {
 public:
  // Asks the strategy, and checks over all ranks that slot "param" covers every element exactly once (REPLICATED: on
  // every rank). Throws Error(kPlugin) naming parameter and element.
  ShardState(Strategy& strategy, const ModelView& view, Device& device, ControlGroup& control);

  // Fills slot "param" with the model's initial values; the strategy's state_loaded is the caller's business.
  void initialize(Model& model, uint64_t seed);

  // All elements of a parameter, fp32, on rank 0 (empty elsewhere). All ranks call it, parameter by parameter.
  std::vector<float> gather(uint32_t param);

  const std::vector<Shard>& shards() const { return shards_; }

 private:
  void check_coverage() const;
  void write(const Shard& shard, uint64_t offset, std::vector<float> values);
  std::vector<float> read(const Shard& shard);

  Strategy& strategy_;
  const ModelView& view_;
  Device& device_;
  ControlGroup& control_;
  ShardStaging staging_;
  std::vector<Shard> shards_;
};

}  // namespace esp::runtime
