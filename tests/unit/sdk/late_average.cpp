// A strategy with a mistake: weights are averaged at the end of a step, and the next one waits for that. Right while
// hooks run; a captured step cannot wait for what another step has recorded.

#include <espalier/kit/replica.hpp>
#include <espalier/strategy.hpp>

class LateAverage : public esp::kit::Replica {
 public:
  explicit LateAverage(esp::Host& host)
      : Replica(host, {/*bucket_bytes=*/0, /*unless_asked=*/0, /*communicates_state=*/true}) {}

  void prepare(const esp_view& view, const esp::Binder& binder) {
    Replica::prepare(view, binder);
    averaged_ = host().device.new_event();
  }
  void begin_step(const esp_step& step) { host().device.wait(step.compute, averaged_); }
  void post_backward(const esp_step& step, uint32_t) {
    const esp::kit::Block* block = finished(step);
    if (block == nullptr) return;
    add_to_norm(*block);
    update(*block);
  }
  void end_pass(const esp_step&) {
    finish_norm(group().handle);
    average_weights();
    host().device.record(averaged_, stream());
  }

 private:
  esp_event averaged_ = nullptr;
};

ESP_PLUGIN("org.espalier.tests.late_average", "1.0.0",
           esp::strategy<LateAverage>("late-average", "averages weights across the border of a step",
                                      ESP_CAP_CPU | ESP_CAP_CAPTURE_STEP));
