#include "runtime/train/shard_state.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace esp::runtime {
namespace {

struct Extent {
  uint32_t param;
  uint32_t replicated;
  uint64_t lo, hi;
};

esp_status collect(void* ctx, const esp_shard* shard, esp_error*) {
  static_cast<std::vector<Shard>*>(ctx)->push_back({shard->param, shard->slot != nullptr ? shard->slot : "", shard->lo,
                                                    shard->hi, shard->data, shard->dtype,
                                                    (shard->flags & ESP_SHARD_REPLICATED) != 0});
  return ESP_OK;
}

std::string pack(const std::vector<Extent>& extents) {
  return {reinterpret_cast<const char*>(extents.data()), extents.size() * sizeof(Extent)};
}

void unpack(const std::string& bytes, std::vector<Extent>& into) {
  const size_t count = bytes.size() / sizeof(Extent);
  const size_t before = into.size();
  into.resize(before + count);
  if (count > 0) std::memcpy(into.data() + before, bytes.data(), count * sizeof(Extent));
}

}  // namespace

ShardStaging::ShardStaging(Device& device)
    : arena(device.memory(), "shard transfer"),
      pinned(static_cast<float*>(arena.alloc(ESP_PINNED, kElements * sizeof(float), ESP_TAG_OTHER))),
      scratch(static_cast<float*>(arena.alloc(ESP_DEVICE, kElements * sizeof(float), ESP_TAG_OTHER))) {}

ShardState::ShardState(Strategy& strategy, const ModelView& view, Device& device, ControlGroup& control)
    : strategy_(strategy), view_(view), device_(device), control_(control), staging_(device) {
  const esp_shard_sink sink{sizeof(esp_shard_sink), 0, &shards_, &collect};
  strategy_.call("state", &esp_strategy_v1::state, &sink);
  for (const Shard& shard : shards_) {
    if (shard.param == ESP_NO_PARAM) continue;
    if (shard.param >= view_.params().size() || shard.lo > shard.hi || shard.hi > view_.params()[shard.param].numel) {
      throw Error(ExitCode::kPlugin, strategy_.name() + ": state lists elements [" + std::to_string(shard.lo) + ", " +
                                         std::to_string(shard.hi) + ") of parameter " + std::to_string(shard.param) +
                                         ", which does not have them");
    }
  }
  check_coverage();
}

void ShardState::check_coverage() const {
  std::vector<Extent> mine, all;
  for (const Shard& shard : shards_) {
    if (shard.slot == "param" && shard.hi > shard.lo) {
      mine.push_back({shard.param, shard.replicated ? 1u : 0u, shard.lo, shard.hi});
    }
  }
  for (const std::string& bytes : control_.all_gather(pack(mine))) unpack(bytes, all);
  const uint64_t world = static_cast<uint64_t>(control_.size());
  std::sort(all.begin(), all.end(), [](const Extent& a, const Extent& b) {
    return std::tie(a.param, a.lo, a.hi) < std::tie(b.param, b.lo, b.hi);
  });
  size_t next = 0;
  for (const esp_param& param : view_.params()) {
    uint64_t covered = 0;
    while (covered < param.numel) {
      const bool here = next < all.size() && all[next].param == param.id && all[next].lo == covered;
      const uint64_t copies = here && all[next].replicated != 0 ? world : 1;
      const uint64_t end = here ? all[next].hi : 0;
      uint64_t seen = 0;
      while (next < all.size() && all[next].param == param.id && all[next].lo == covered && all[next].hi == end)
        ++next, ++seen;
      if (!here || seen != copies) {
        throw Error(ExitCode::kPlugin, strategy_.name() + ": over all ranks, state lists element " +
                                           std::to_string(covered) + " of " + param.name + " " + std::to_string(seen) +
                                           " times instead of " + std::to_string(copies) + " (slot \"param\")");
      }
      covered = end;
    }
  }
  if (next != all.size()) {
    throw Error(ExitCode::kPlugin, strategy_.name() + ": state lists elements of " +
                                       view_.params()[all[next].param].name + " more than once (slot \"param\")");
  }
}

void ShardState::initialize(Model& model, uint64_t seed) {
  for (const Shard& shard : shards_) {
    if (shard.slot != "param") continue;
    for (uint64_t lo = shard.lo; lo < shard.hi; lo += ShardStaging::kElements) {
      std::vector<float> values(std::min(ShardStaging::kElements, shard.hi - lo));
      model.call("init_range", &esp_model_v1::init_range, shard.param, seed, lo, lo + values.size(), values.data());
      write(shard, lo - shard.lo, std::move(values));
    }
  }
  device_.sync(device_.compute());
}

// Only copies cross places, and conversions run where the memory lives: so a device shard is written through the
// device's scratch, and a pinned one through a stream of the CPU.
void ShardState::write(const Shard& shard, uint64_t offset, std::vector<float> values) {
  Stream& compute = device_.compute();
  device_.sync(compute);  // the staging memory is free again
  std::memcpy(staging_.pinned, values.data(), values.size() * sizeof(float));
  auto* destination = static_cast<char*>(shard.data) + offset * ESP_DTYPE_BYTES(shard.dtype);
  const bool pinned = device_.memory().find(shard.data, 1).place == ESP_PINNED;
  if (pinned) {
    const auto cpu = device_.create_stream(ESP_STREAM_CPU, 0, "shard transfer");
    device_.kernels().convert(*cpu, destination, shard.dtype, staging_.pinned, ESP_F32, values.size());
    device_.sync(*cpu);
    return;
  }
  device_.kernels().copy(compute, staging_.scratch, staging_.pinned, values.size() * sizeof(float));
  device_.kernels().convert(compute, destination, shard.dtype, staging_.scratch, ESP_F32, values.size());
}

std::vector<float> ShardState::read(const Shard& shard) {
  Stream& compute = device_.compute();
  const bool pinned = device_.memory().find(shard.data, 1).place == ESP_PINNED;
  std::vector<float> values(shard.hi - shard.lo);
  for (uint64_t done = 0; done < values.size(); done += ShardStaging::kElements) {
    const uint64_t n = std::min<uint64_t>(ShardStaging::kElements, values.size() - done);
    const auto* source = static_cast<const char*>(shard.data) + done * ESP_DTYPE_BYTES(shard.dtype);
    if (pinned) {
      const auto cpu = device_.create_stream(ESP_STREAM_CPU, 0, "shard transfer");
      device_.kernels().convert(*cpu, staging_.pinned, ESP_F32, source, shard.dtype, n);
      device_.sync(*cpu);
    } else {
      device_.kernels().convert(compute, staging_.scratch, ESP_F32, source, shard.dtype, n);
      device_.kernels().copy(compute, staging_.pinned, staging_.scratch, n * sizeof(float));
      device_.sync(compute);
    }
    std::memcpy(values.data() + done, staging_.pinned, n * sizeof(float));
  }
  return values;
}

std::vector<float> ShardState::gather(uint32_t param) {
  std::vector<Extent> extents;
  std::string bytes;
  for (const Shard& shard : shards_) {
    if (shard.param != param || shard.slot != "param" || shard.hi == shard.lo) continue;
    if (shard.replicated && control_.rank() != 0) continue;
    const std::vector<float> values = read(shard);
    extents.push_back({param, 0, shard.lo, shard.hi});
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  const std::vector<std::string> all_extents = control_.all_gather(pack(extents));
  const bool elsewhere =
      std::any_of(all_extents.begin() + 1, all_extents.end(), [](const auto& e) { return !e.empty(); });
  std::vector<std::string> all_bytes{bytes};
  if (elsewhere) all_bytes = control_.all_gather(bytes);
  if (control_.rank() != 0) return {};
  std::vector<float> whole(view_.params()[param].numel);
  for (size_t rank = 0; rank < all_bytes.size(); ++rank) {
    std::vector<Extent> parts;
    unpack(all_extents[rank], parts);
    const char* next = all_bytes[rank].data();
    for (const Extent& part : parts) {
      std::memcpy(whole.data() + part.lo, next, (part.hi - part.lo) * sizeof(float));
      next += (part.hi - part.lo) * sizeof(float);
    }
  }
  return whole;
}

}  // namespace esp::runtime
