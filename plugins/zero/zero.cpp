// zero: every rank works on its own samples and owns one part of every block of parameters, whose update it makes.
// Optimizer state is sharded in every stage, gradients from stage 2 on, parameters in stage 3.

#include <espalier/kit/loss_scaling.hpp>
#include <espalier/kit/priority.hpp>
#include <espalier/strategy.hpp>
#include <memory>
#include <optional>

#include "gradients.hpp"
#include "shard_update.hpp"
#include "sharding.hpp"
#include "weights.hpp"

namespace {

using esp::kit::Block;

class Zero {
 public:
  struct Options : esp::kit::LossScaling {
    int64_t stage = 1;
    std::string offload = "none";
    static auto schema() {
      return std::tuple_cat(
          esp::options(esp::option("stage", &Options::stage)
                           .range(1, 3)
                           .sweepable()
                           .doc("what is sharded: 1 optimizer state, 2 gradients too, 3 parameters too"),
                       esp::option("offload", &Options::offload)
                           .choices({"none", "optimizer"})
                           .sweepable()
                           .doc("optimizer: masters and optimizer state live in host memory, updates run on the CPU")),
          esp::kit::loss_scaling_options<Options>());
    }
  };

  Zero(esp::Host& host, const Options& options) : host_(host), options_(options), sharding_(host) {}

  esp_plan plan(const esp_view& view) {
    esp_plan plan = sharding_.plan(view);
    options_.write_to(plan);
    return plan;
  }

  void prepare(const esp_view& view, const esp::Binder& binder) {
    sharding_.lay_out(view);
    // Alone there is nothing to share, and nothing to gather.
    const int64_t stage = sharding_.alone() ? 1 : options_.stage;
    if (stage < 3) {
      weights_ = std::make_unique<zero::WholeWeights>(sharding_, view, binder);
    } else {
      weights_ = std::make_unique<zero::ShardedWeights>(sharding_, view, binder);
    }
    if (sharding_.n_trained == 0) return;
    // Updates are patient, on a stream of their own: no collective waits for one.
    const esp_stream updating = host_.device.new_stream(ESP_STREAM_DEVICE, esp::kit::kPatient);
    const esp_stream reducing =
        sharding_.alone() ? updating : host_.device.new_stream(ESP_STREAM_DEVICE, esp::kit::kUrgent);
    if (stage < 2) {
      gradients_ = std::make_unique<zero::WholeGradients>(sharding_, binder, reducing);
    } else {
      gradients_ = std::make_unique<zero::ShardedGradients>(sharding_, binder, reducing);
    }
    update_.emplace(sharding_, *weights_, *gradients_, reducing, updating, options_.offload == "optimizer");
  }

  uint32_t variant(uint64_t) noexcept { return weights_->variant(); }

  void begin_step(const esp_step& step) {
    weights_->begin_step(step);
    if (gradients_) gradients_->begin_step();
  }

  void pre_forward(const esp_step& step, uint32_t) { weights_->before(step); }

  void pre_backward(const esp_step& step, uint32_t) {
    weights_->before(step);
    if (gradients_) gradients_->open(step);
  }

  void post_backward(const esp_step& step, uint32_t) {
    if (!gradients_) return;
    gradients_->close(step);
    sharding_.for_finished(step.pos, [this](const Block& block) { gradient_final(block); });
  }

  void end_pass(const esp_step&) {
    if (!update_) return;
    sharding_.for_unreached([this](const Block& block) { gradient_final(block); });
    update_->finish_norm();
    if (update_->waits_for_norm()) sharding_.for_trained([this](const Block& block) { update_->apply(block); });
  }

  void state(const esp::ShardSink& sink) const {
    const esp::kit::StateEmitter emitter(sink, 0);
    for (const Block& block : sharding_.layout.blocks()) {
      if (sharding_.trained(block)) {
        update_->list_state(emitter, block);
      } else {
        sharding_.list_fixed(emitter, block, weights_->own(block));
      }
    }
  }

  void state_loaded() {
    if (update_) update_->masters_loaded();
    weights_->own_parts_loaded();
  }

 private:
  void gradient_final(const Block& block) {
    update_->gradient_final(block);
    if (!update_->waits_for_norm()) update_->apply(block);
  }

  const esp::Host& host_;
  const Options options_;
  zero::Sharding sharding_;
  std::unique_ptr<zero::Weights> weights_;
  std::unique_ptr<zero::Gradients> gradients_;  // absent when nothing is trained
  std::optional<zero::ShardUpdate> update_;     // likewise
};

}  // namespace

ESP_PLUGIN("org.espalier.zero", "1.0.0",
           esp::strategy<Zero>("zero", "optimizer state, gradients and parameters sharded over the ranks",
                               ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                   ESP_CAP_INFER));
