// A strategy whose hooks do nothing: what is left is what a call across the border costs. It cannot train.
#include <espalier/strategy.hpp>

class EmptyHooks {
 public:
  struct Options {
    static auto schema() { return esp::options(); }
  };
  EmptyHooks(esp::Host&, const Options&) {}
  esp_plan plan(const esp_view&) {
    esp_plan plan{};
    plan.n_passes = 1;
    plan.compute_t = plan.grad_t = ESP_F32;
    return plan;
  }
  void prepare(const esp_view&, const esp::Binder&) {}
  void begin_step(const esp_step&) {}
  void pre_forward(const esp_step&, uint32_t) {}
  void post_forward(const esp_step&, uint32_t) {}
  void pre_backward(const esp_step&, uint32_t) {}
  void post_backward(const esp_step&, uint32_t) {}
  void end_pass(const esp_step&) {}
  template <class Emit>
  void state(const Emit&) {}
  void state_loaded() {}
};

ESP_PLUGIN("org.espalier.bench.emptyhooks", "1.0.0",
           esp::strategy<EmptyHooks>("empty-hooks", "does nothing, for measuring", ESP_CAP_CPU));
