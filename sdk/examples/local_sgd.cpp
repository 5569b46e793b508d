// Local SGD: every rank trains on its own and the weights are averaged every `period` steps. When that is depends on
// the step, so it is a variant: a captured step can be replayed, and a replay runs no hook.

#include <espalier/kit/replica.hpp>
#include <espalier/strategy.hpp>

class LocalSgd : public esp::kit::Replica {
 public:
  struct Options {
    int64_t period = 8;
    static auto schema() {
      return esp::options(
          esp::option("period", &Options::period).range(1, 4096).doc("steps between two averages").sweepable());
    }
  };

  LocalSgd(esp::Host& host, const Options& options)
      : Replica(host, {/*bucket_bytes=*/0, /*unless_asked=*/0, /*communicates_state=*/true}), period_(options.period) {}

  uint32_t variant(uint64_t index) noexcept { return (index + 1) % period_ == 0 ? 1 : 0; }

  void post_backward(const esp_step& step, uint32_t) {
    const esp::kit::Block* block = finished(step);
    if (block == nullptr) return;
    add_to_norm(*block);
    if (!update_waits_for_norm()) update(*block);
  }
  void end_pass(const esp_step& step) {
    finish_norm(group().handle);
    if (update_waits_for_norm()) update_all();
    if (step.variant == 1) average_weights();
  }

  // Between two averages the ranks differ: the first rank's copy is the one that is kept.
  void state(const esp::ShardSink& sink) {
    if (group().rank == 0) list_state(sink, 0);
  }
  void state_loaded() {
    spread_state();
    Replica::state_loaded();
  }

 private:
  const uint64_t period_;
};

ESP_PLUGIN("org.espalier.examples.localsgd", "1.0.0",
           esp::strategy<LocalSgd>("local-sgd", "local steps, weights averaged every few of them",
                                   ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                       ESP_CAP_INFER));
