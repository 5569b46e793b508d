// The strategy @id@. As written: replicas whose gradients are averaged block by block while backward goes on.
// What a hook may do, and when: espalier/strategy.h; the verbs: espalier/kit/replica.hpp.
#include <espalier/kit/replica.hpp>
#include <espalier/strategy.hpp>

class MyPlugin : public esp::kit::Replica {
 public:
  struct Options {
    esp::Bytes bucket_bytes{1 << 20};
    static auto schema() {
      return esp::options(esp::option("bucket_bytes", &Options::bucket_bytes)
                              .doc("gradients of neighbouring units are averaged together up to this size")
                              .sweepable());
    }
  };

  MyPlugin(const esp::Host& host, const Options& options) : Replica(host, {options.bucket_bytes}) {}

  // Behind the backward of each unit. A block is finished when the last of its gradients is final.
  void post_backward(const esp_step& step, uint32_t) {
    const esp::kit::Block* block = finished(step);
    if (block == nullptr) return;
    average_gradients(*block);
    add_to_norm(*block);
    if (!update_waits_for_norm()) update(*block);
  }

  void end_pass(const esp_step&) {
    finish_norm();
    if (update_waits_for_norm()) update_all();
  }
};

ESP_PLUGIN("org.example.@name@", "0.1.0",
           esp::strategy<MyPlugin>("@id@", "replicas, gradients averaged during backward",
                                   ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                       ESP_CAP_INFER));
