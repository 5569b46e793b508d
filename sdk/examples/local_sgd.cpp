// Local SGD: every rank trains on its own and the weights are averaged every `period` steps. When that is depends on
// the step, so it is a variant: a captured step can be replayed, and a replay runs no hook.
#include <espalier/kit/local_replica.hpp>

class LocalSgd : public esp::kit::LocalReplica {
 public:
  struct Options {
    int64_t period = 8;
    static auto schema() {
      return esp::options(
          esp::option("period", &Options::period).range(1, 4096).doc("steps between two averages").sweepable());
    }
  };

  LocalSgd(const esp::Host& host, const Options& options) : LocalReplica(host), period_(options.period) {}

  uint32_t variant(uint64_t index) noexcept { return (index + 1) % period_ == 0 ? kAverages : kAlone; }

  void end_pass(const esp_step& step) {
    LocalReplica::end_pass(step);
    if (step.variant == kAverages) average_weights();
  }

 private:
  enum : uint32_t { kAlone, kAverages };
  const uint64_t period_;
};

ESP_PLUGIN("org.espalier.examples.localsgd", "1.0.0",
           esp::strategy<LocalSgd>("local-sgd", "local steps, weights averaged every few of them",
                                   ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                       ESP_CAP_INFER));
