// ddp: every rank holds the whole model and works on its own samples; gradients are averaged over the ranks bucket by
// bucket while backward goes on, and each rank makes the same update.

#include <espalier/kit/replica.hpp>
#include <espalier/strategy.hpp>

namespace {

class Ddp : public esp::kit::Replica {
 public:
  struct Options {
    esp::Bytes bucket_bytes;

    static auto schema() {
      return esp::options(
          esp::option("bucket_bytes", &Options::bucket_bytes)
              .doc("merge the gradients of neighbouring units until a bucket has this size; 0: one bucket a unit")
              .sweepable());
    }
  };

  Ddp(esp::Host& host, const Options& options) : Replica(host, {/*bucket_bytes=*/options.bucket_bytes}) {}

  // A bucket is final once backward has passed the last unit that uses one of its parameters, in the last micro-batch:
  // before that, gradients only accumulate.
  void post_backward(const esp_step& step, uint32_t) {
    const esp::kit::Block* bucket = finished(step);
    if (bucket == nullptr) return;
    average_gradients(*bucket);
    add_to_norm(*bucket);
    if (!update_waits_for_norm()) update(*bucket);
  }

  void end_pass(const esp_step&) {
    finish_norm();
    if (update_waits_for_norm()) update_all();
  }
};

}  // namespace

ESP_PLUGIN("org.espalier.ddp", "1.0.0",
           esp::strategy<Ddp>("ddp", "replicas; gradients are averaged while backward runs",
                              ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                  ESP_CAP_INFER));
