// Data parallelism that clips the averaged gradient of each block by its own norm, before the host's norm and update.
#include <espalier/kit/replica.hpp>
#include <vector>

class UnitClip : public esp::kit::Replica {
 public:
  struct Options {
    double limit = 1.0;
    static auto schema() {
      return esp::options(
          esp::option("limit", &Options::limit).range(1e-6, 1e9).doc("largest norm of a block").sweepable());
    }
  };

  UnitClip(const esp::Host& host, const Options& options)
      : Replica(host, {0}), limit_(static_cast<float>(options.limit)) {}

  esp_plan plan(const esp_view& view) {
    const esp_plan plan = Replica::plan(view);
    if (plan.grad_t == ESP_F16)
      esp::fail(ESP_E_UNSUPPORTED, "unit-clip knows no loss scale; set train.precision = \"bf16\"");
    return plan;
  }

  void prepare(const esp_view& view, const esp::Binder& binder) {
    Replica::prepare(view, binder);
    factors_ = host().memory.device(2 * blocks().size() * sizeof(float), ESP_TAG_WORKSPACE);
  }

  void post_backward(const esp_step& step, uint32_t) {
    const esp::kit::Block* block = finished(step);
    if (block == nullptr) return;
    average_gradients(*block);
    clip(*block);
    add_to_norm(*block);
    if (!update_waits_for_norm()) update(*block);
  }
  void end_pass(const esp_step&) {
    finish_norm();
    if (update_waits_for_norm()) update_all();
  }

 private:
  // factor = min(1, limit / max(norm, tiny)); gradient *= factor
  void clip(const esp::kit::Block& block) {
    auto* factor = static_cast<float*>(factors_.at(block.index, ESP_F32));
    host().kernels.zero(factor, sizeof(float), stream());
    host().kernels.sum_sq(gradients(block), block.size(), compute_t(), factor, stream());
    auto* one = static_cast<float*>(factors_.at(blocks().size() + block.index, ESP_F32));
    const esp_sop ops[] = {{ESP_SOP_SQRT, 0, 0, 0, 0},  // the norm
                           {ESP_SOP_DIV, 0, 0, ESP_SOP_IMM, limit_},
                           {ESP_SOP_MAX, 0, 0, ESP_SOP_IMM, 1.0f},
                           {ESP_SOP_DIV, 1, 0, 0, 0},   // one
                           {ESP_SOP_DIV, 0, 1, 0, 0}};  // the factor
    float* const regs[] = {factor, one};
    host().kernels.scalars({ops, 5}, {regs, 2}, stream());
    host().kernels.axpby(block.size(), 1.0f, factor, gradients(block), compute_t(), 0.0f, nullptr, gradients(block),
                         compute_t(), stream());
  }
  const float limit_;
  esp::Buffer factors_;
};

ESP_PLUGIN("org.example.unit_clip", "0.1.0",
           esp::strategy<UnitClip>("unit-clip", "replicas, each block clipped by its own norm",
                                   ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                       ESP_CAP_INFER));
