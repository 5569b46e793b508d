// gemini: parameters in chunks aligned to units. Every rank keeps one part of each, on the device or in host memory;
// chunks are gathered around their use, gradients are averaged into parts, and each part is updated where its optimizer
// state is.

#include <espalier/kit/loss_scaling.hpp>
#include <espalier/kit/precision.hpp>
#include <espalier/kit/shard_set.hpp>
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
              .doc("static: by the two fractions; auto: as little in host memory as the device budget allows"),
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
              .doc("auto: part of the run's device budget to use; without one, of what all on the device would take"));
    }
    static auto gathering_options() {
      return esp::options(esp::option("prefetch", &Options::prefetch)
                              .sweepable()
                              .doc("fetch chunks before the unit that needs them begins"),
                          esp::option<Options, uint32_t>("gathered_chunks", &Options::gathered_chunks)
                              .range(0, 100000)
                              .sweepable()
                              .doc("static: chunks gathered at once; never fewer than needed"));
    }
    static auto schema() {
      return std::tuple_cat(placement_options(), gathering_options(), esp::kit::loss_scaling_options<Options>());
    }
  };

  Gemini(esp::Host& host, const Options& options)
      : host_(host), options_(options), chunks_(make_chunks(host, host.comm.data())) {}

  esp_plan plan(const esp_view& view) {
    const esp_run& run = host_.run();
    if (trains() && view.n_train == 0) esp::fail(ESP_E_INVALID, "the schedule of a training step is empty");
    if (trains() && options_.placement == "static" && options_.parameter_offload > options_.optimizer_offload) {
      esp::fail(ESP_E_UNSUPPORTED, "parameter_offload = ", options_.parameter_offload,
                " is above optimizer_offload = ", options_.optimizer_offload,
                ": weights in host memory are updated there; raise optimizer_offload");
    }
    chunks_.compute_t = esp::kit::compute_dtype(run, esp::kit::usual_precision(run));
    esp_plan plan{};
    plan.n_passes = 1;
    plan.compute_t = plan.grad_t = chunks_.compute_t;
    plan.caps = ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC;
    plan.caps |= run.device_kind == ESP_CUDA ? ESP_CAP_CUDA : ESP_CAP_CPU;
    if (!trains()) plan.caps |= ESP_CAP_INFER;
    options_.write_to(plan);
    return plan;
  }

  void prepare(const esp_view& view, const esp::Binder& binder) {
    lay_out(view);
    const uint32_t slots = gemini::place(chunks_, placement_options());
    weights_.emplace(chunks_, binder, options_.prefetch, slots);
    if (chunks_.n_trained == 0) return;
    reduction_ = host_.device.new_stream(ESP_STREAM_DEVICE, /*priority=*/-1);
    gradients_.emplace(chunks_, binder, reduction_, host_.device.new_stream(ESP_STREAM_CPU));
    update_.emplace(chunks_, *weights_, *gradients_);
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
    for (const esp::kit::Window& window : chunks_.windows.closes(step.pos)) {
      if (window.last) update_->gradient_complete(chunks_.layout.blocks()[window.block]);
    }
  }

  void end_pass(const esp_step&) {
    if (!update_) return;
    for (const Block& chunk : chunks_.layout.blocks()) {
      if (chunks_.trained(chunk) && chunks_.windows.count(chunk.index) == 0) update_->gradient_complete(chunk);
    }
    update_->finish(reduction_);
  }

  void state(const esp::ShardSink& sink) const {
    const esp::kit::StateEmitter emitter(sink, 0);
    for (const Block& chunk : chunks_.layout.blocks()) {
      if (chunks_.trained(chunk)) {
        update_->list_state(emitter, chunk);
        continue;
      }
      for (const esp::kit::Piece& piece : chunks_.partition.own(chunk)) {
        void* data =
            esp::kit::element(weights_->home(chunk), piece.at - chunks_.partition.begin(chunk), chunks_.compute_t);
        emitter.weights(piece.param, piece.offset, piece.offset + piece.n, data, chunks_.compute_t);
      }
    }
  }

  void state_loaded() {
    if (update_) update_->masters_loaded();
  }

 private:
  static gemini::Chunks make_chunks(const esp::Host& host, const esp::Group& group) {
    const esp::kit::Partition partition(static_cast<uint64_t>(group.rank), static_cast<uint64_t>(group.size));
    return {host, group, partition, {}, 0, {}, {}, {}, 0, {}};
  }

  bool trains() const { return host_.run().mode == ESP_MODE_TRAIN; }

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

  void lay_out(const esp_view& view) {
    std::vector<uint32_t> moving, fixed;
    for (uint32_t id = 0; id < view.n_params; ++id) {
      const bool moves = trains() && (view.params[id]->flags & ESP_PARAM_TRAINABLE) != 0;
      if (view.params[id]->numel > 0) (moves ? moving : fixed).push_back(id);
    }
    const esp::kit::Schedule schedule(view);
    std::vector<esp::kit::Bucket> buckets = buckets_by_users(view, schedule, moving);
    chunks_.n_trained = static_cast<uint32_t>(buckets.size());
    for (esp::kit::Bucket& bucket : buckets_by_users(view, schedule, fixed)) buckets.push_back(std::move(bucket));
    const uint64_t smallest = moving.empty() ? ESP_DTYPE_BYTES(chunks_.compute_t)
                                             : esp::kit::smallest_element(chunks_.compute_t, host_.update.desc());
    chunks_.layout =
        esp::kit::Layout(view, buckets, esp::kit::alignment_of(smallest), static_cast<uint64_t>(chunks_.group.size));
    chunks_.windows = esp::kit::Windows(view, chunks_.layout, chunks_.n_trained);
    chunks_.train = block_uses(view, view.train, view.n_train, chunks_.layout);
    chunks_.eval = block_uses(view, view.eval, view.n_eval, chunks_.layout);
  }

  const esp::Host& host_;
  const Options options_;
  gemini::Chunks chunks_;
  esp_stream reduction_ = nullptr;
  std::optional<gemini::Weights> weights_;
  std::optional<gemini::Gradients> gradients_;  // absent when nothing is trained
  std::optional<gemini::ChunkUpdate> update_;   // likewise
};

}  // namespace

ESP_PLUGIN("org.espalier.gemini", "1.0.0",
           esp::strategy<Gemini>("gemini", "chunks of parameters gathered around their use, at home on device or host",
                                 ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                     ESP_CAP_INFER));
