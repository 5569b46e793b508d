#include "gradients.hpp"

namespace zero {

using esp::kit::Block;

WholeGradients::WholeGradients(const Sharding& sharding, const esp::Binder& binder, esp_stream stream)
    : sharding_(sharding),
      stream_(stream),
      fence_(sharding.host.device),
      arena_(sharding.host.memory.device(sharding.trained_size() * ESP_DTYPE_BYTES(sharding.compute_t), ESP_TAG_GRAD,
                                         ESP_MEM_COMM)) {
  std::vector<esp_bind> binds;
  for (const Block& block : sharding.layout.blocks()) {
    if (!sharding.trained(block)) continue;
    for (const esp::kit::Place& place : block.places) {
      binds.push_back({place.param, ESP_BIND_GRAD, arena_.at(place.offset, sharding.compute_t), sharding.compute_t,
                       ESP_WRITE_EACH_PASS});
    }
  }
  binder.bind({binds.data(), binds.size()});
}

void WholeGradients::close(const esp_step& step) {
  for (const esp::kit::Window& window : sharding_.windows.closes(step.pos)) {
    if (!window.last) continue;
    fence_.order(step.grads, stream_);
    if (sharding_.alone()) continue;
    const Block& block = sharding_.layout.blocks()[window.block];
    sharding_.host.comm.reduce_scatter(sharding_.group, arena_.at(block.begin, sharding_.compute_t), own(block),
                                       sharding_.partition.size(block), sharding_.compute_t, ESP_AVG, stream_);
  }
}

void* WholeGradients::own(const Block& block) const {
  return arena_.at(sharding_.partition.begin(block), sharding_.compute_t);
}

}  // namespace zero
