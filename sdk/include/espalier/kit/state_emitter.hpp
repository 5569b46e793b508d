// Lists what a rank holds, for initialisation, checkpoints and export.
#ifndef ESPALIER_KIT_STATE_EMITTER_HPP
#define ESPALIER_KIT_STATE_EMITTER_HPP

#include <espalier/kit/shard_set.hpp>
#include <espalier/strategy.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

class StateEmitter {
 public:
  // flags: ESP_SHARD_REPLICATED when all ranks hold the same, bit for bit; 0 when each element is held once.
  StateEmitter(const ShardSink& sink, uint32_t flags) : sink_(&sink), flags_(flags) {}

  // Weights and optimizer state of elements [lo, hi) of a parameter, at `at` of the set.
  void owned(uint32_t param, uint64_t lo, uint64_t hi, const ShardSet& set, uint64_t at) const {
    owned(param, lo, hi, set.master(at), set, at);
  }
  // The same for masters that lie elsewhere than in the set.
  void owned(uint32_t param, uint64_t lo, uint64_t hi, void* master, const ShardSet& set, uint64_t at) const {
    weights(param, lo, hi, master, set.master_dtype());
    for (uint32_t slot = 0; slot < set.n_slots(); ++slot) {
      add(param, set.slot_name(slot), lo, hi, set.slot(slot, at), set.slot_dtype(slot));
    }
  }
  // Weights alone: frozen parameters, inference.
  void weights(uint32_t param, uint64_t lo, uint64_t hi, void* data, esp_dtype dtype) const {
    add(param, "param", lo, hi, data, dtype);
  }
  // An array of the strategy's own.
  void add(uint32_t param, const char* slot, uint64_t lo, uint64_t hi, void* data, esp_dtype dtype) const {
    sink_->add(esp_shard{sizeof(esp_shard), param, slot, lo, hi, data, dtype, flags_});
  }

 private:
  const ShardSink* sink_;
  uint32_t flags_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_STATE_EMITTER_HPP
