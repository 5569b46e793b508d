// Replicas that learn on their own: every rank updates its copy of the model with its own gradients, and a strategy
// says when the copies meet.
//
// Derive, and bring the copies together in end_pass, behind the base's: average_weights, or collectives of one's own on
// stream(). When that happens only in some steps, it is a variant. What counts as the run's state, saved and exported,
// is the copy of the group's first rank; what is loaded there goes to all.
#ifndef ESPALIER_KIT_LOCAL_REPLICA_HPP
#define ESPALIER_KIT_LOCAL_REPLICA_HPP

#include <espalier/kit/replica.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

class LocalReplica : public Replica {
 public:
  void post_backward(const esp_step& step, uint32_t) {
    const Block* block = finished(step);
    if (block == nullptr) return;
    add_to_norm(*block);
    if (!update_waits_for_norm()) update(*block);
  }

  // The norm is that of all ranks' gradients together: so all clip, skip or stop alike.
  void end_pass(const esp_step&) {
    finish_norm(group().handle);
    if (update_waits_for_norm()) update_all();
  }

  void state(const ShardSink& sink) const {
    if (group().rank == 0) list_state(sink, 0);
  }
  void state_loaded() const {
    spread_state();
    Replica::state_loaded();
  }

 protected:
  explicit LocalReplica(const Host& host, ReplicaSettings settings = {})
      : Replica(host, (settings.communicates_state = true, settings)) {}
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_LOCAL_REPLICA_HPP
