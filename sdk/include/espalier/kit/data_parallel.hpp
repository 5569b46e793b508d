// Replicated data parallelism: every rank holds the whole model and works on its own samples; gradients are averaged
// over the ranks bucket by bucket while backward goes on, and each rank makes the same update.
#ifndef ESPALIER_KIT_DATA_PARALLEL_HPP
#define ESPALIER_KIT_DATA_PARALLEL_HPP

#include <espalier/kit/replica.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

class DataParallel : public Replica {
 public:
  DataParallel(const Host& host, const ReplicaSettings& settings) : Replica(host, apart(settings)) {}

  // A bucket is final once backward has passed the last unit that uses one of its parameters, in the last micro-batch:
  // before that, gradients only accumulate.
  void post_backward(const esp_step& step, uint32_t) {
    const Block* bucket = finished(step);
    if (bucket == nullptr) return;
    average_gradients(*bucket);
    add_to_norm(*bucket);
    if (!update_waits_for_norm()) update(*bucket);
  }

  void end_pass(const esp_step&) {
    finish_norm();
    if (update_waits_for_norm()) update_all();
  }

 private:
  static ReplicaSettings apart(ReplicaSettings settings) {
    settings.updates_apart = true;
    return settings;
  }
};

// The option `bucket_bytes` of an options struct that has a member of that name.
template <class Options>
auto bucket_option() {
  return option("bucket_bytes", &Options::bucket_bytes)
      .doc("merge the gradients of neighbouring units until a bucket has this size; 0: one bucket a unit")
      .sweepable();
}

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_DATA_PARALLEL_HPP
