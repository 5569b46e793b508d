// gemini: parameters in chunks aligned to units. Every rank keeps one part of each, on the device or in host memory;
// chunks are gathered around their use, gradients are averaged into parts, and each part is updated where its optimizer
// state is.

#include <espalier/kit/loss_scaling.hpp>
#include <espalier/kit/priority.hpp>
#include <espalier/strategy.hpp>
#include <optional>

#include "chunk_update.hpp"
#include "chunks.hpp"
#include "gradients.hpp"
#include "placement.hpp"
#include "weights.hpp"

namespace {

using gemini::Block;

class Gemini {
 public:
  struct Options : esp::kit::LossScaling {
    std::string placement = "static";
    double parameter_offload = 0, optimizer_offload = 0;
    double device_budget_fraction = 1;
    uint32_t gathered_chunks = 0;
    bool prefetch = true;
    static auto placement_options() {
      return esp::options(
          esp::option("placement", &Options::placement)
              .choices({"static", "auto"})
              .sweepable()
              .doc("static: by the two fractions; auto: as little in host memory as the device budget allows, decided "
                   "behind the first step"),
          esp::option("parameter_offload", &Options::parameter_offload)
              .range(0, 1)
              .sweepable()
              .doc("static: part of the weights that lives in host memory, at most optimizer_offload"),
          esp::option("optimizer_offload", &Options::optimizer_offload)
              .range(0, 1)
              .sweepable()
              .doc("static: part of masters and optimizer state that lives in host memory and is updated on the CPU"),
          esp::option("device_budget_fraction", &Options::device_budget_fraction)
              .range(0, 1)
              .sweepable()
              .doc("auto: part to use of what the run's device budget leaves beside activations; without a budget, of "
                   "what all on the device would take"));
    }
    static auto gathering_options() {
      return esp::options(esp::option("prefetch", &Options::prefetch)
                              .sweepable()
                              .doc("fetch chunks before the unit that needs them begins, and let it write gradients "
                                   "while others are reduced; false: a chunk less of both"),
                          esp::option<Options, uint32_t>("gathered_chunks", &Options::gathered_chunks)
                              .range(0, 100000)
                              .sweepable()
                              .doc("static: chunks gathered at once; never fewer than needed"));
    }
    static auto schema() {
      return std::tuple_cat(placement_options(), gathering_options(), esp::kit::loss_scaling_options<Options>());
    }
  };

  Gemini(esp::Host& host, const Options& options) : host_(host), options_(options), chunks_(host) {}

  esp_plan plan(const esp_view& view) {
    if (chunks_.trains() && options_.placement == "static" && options_.parameter_offload > options_.optimizer_offload) {
      esp::fail(ESP_E_UNSUPPORTED, "parameter_offload = ", options_.parameter_offload,
                " is above optimizer_offload = ", options_.optimizer_offload,
                ": weights in host memory are updated there; raise optimizer_offload");
    }
    esp_plan plan = chunks_.plan(view);
    options_.write_to(plan);
    if (gemini::adapts(chunks_, placement_options())) {
      plan.caps |= ESP_CAP_ADAPTS;
      plan.warmup_steps = 1;
    }
    return plan;
  }

  void prepare(const esp_view& view, const esp::Binder& binder) {
    chunks_.lay_out(view);
    chunks_.train = block_uses(view, view.train, view.n_train, chunks_.layout);
    chunks_.eval = block_uses(view, view.eval, view.n_eval, chunks_.layout);
    const uint32_t slots = gemini::place(chunks_, placement_options());
    weights_.emplace(chunks_, binder, options_.prefetch, slots);
    if (chunks_.n_trained == 0) return;
    updating_ = host_.device.new_stream(ESP_STREAM_DEVICE, esp::kit::kPatient);
    const esp_stream reduction =
        chunks_.alone() ? updating_ : host_.device.new_stream(ESP_STREAM_DEVICE, esp::kit::kUrgent);
    gradients_.emplace(chunks_, binder, options_.prefetch, reduction, updating_);
    update_.emplace(chunks_, *weights_, *gradients_);
  }

  // Slots and gradients hold nothing between steps, so their room serves the way: the device never holds more than what
  // it held or will hold.
  void adapt(const esp_profile& profile) {
    const std::vector<gemini::Tier> before = chunks_.tiers;
    const uint32_t slots = gemini::promote(chunks_, placement_options(), profile.capacity);
    weights_->release_slots();
    if (gradients_) gradients_->release();
    uint32_t moved = 0;
    for (const Block& chunk : chunks_.layout.blocks()) {
      const gemini::Tier from = before[chunk.index];
      if (from == chunks_.tier(chunk)) continue;
      weights_->move_home(chunk, from);
      if (chunks_.trained(chunk)) update_->move_optimizer(chunk, from);
      ++moved;
    }
    weights_->gather(slots);
    if (gradients_) gradients_->take();
    if (update_) update_->relist();
    host_.log.debug("adapt: " + std::to_string(moved) + " of " + std::to_string(before.size()) +
                    " chunks came nearer to the device; " + std::to_string(profile.capacity) + " bytes are there");
  }

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
    chunks_.for_finished(step.pos, [this](const Block& chunk) { update_->gradient_complete(chunk); });
  }

  void end_pass(const esp_step&) {
    if (!update_) return;
    chunks_.for_unreached([this](const Block& chunk) { update_->gradient_complete(chunk); });
    update_->finish(updating_);
  }

  void state(const esp::ShardSink& sink) const {
    const esp::kit::StateEmitter emitter(sink, 0);
    for (const Block& chunk : chunks_.layout.blocks()) {
      if (chunks_.trained(chunk)) {
        update_->list_state(emitter, chunk);
      } else {
        chunks_.list_fixed(emitter, chunk, weights_->home(chunk));
      }
    }
  }

  void state_loaded() {
    if (update_) update_->masters_loaded();
  }

 private:
  gemini::PlacementOptions placement_options() const {
    gemini::PlacementOptions options;
    options.automatic = options_.placement == "auto";
    options.parameter_offload = options_.parameter_offload;
    options.optimizer_offload = options_.optimizer_offload;
    options.budget_fraction = options_.device_budget_fraction;
    options.weight_slots = options_.gathered_chunks;
    options.prefetch = options_.prefetch;
    return options;
  }

  const esp::Host& host_;
  const Options options_;
  gemini::Chunks chunks_;
  esp_stream updating_ = nullptr;  // for updates on the device, and the norm
  std::optional<gemini::Weights> weights_;
  std::optional<gemini::Gradients> gradients_;  // absent when nothing is trained
  std::optional<gemini::ChunkUpdate> update_;   // likewise
};

}  // namespace

ESP_PLUGIN("org.espalier.gemini", "1.0.0",
           esp::strategy<Gemini>("gemini", "chunks of parameters gathered around their use, at home on device or host",
                                 ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_ADAPTS |
                                     ESP_CAP_DETERMINISTIC | ESP_CAP_INFER));
