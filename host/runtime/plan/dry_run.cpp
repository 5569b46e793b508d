#include "runtime/plan/dry_run.hpp"

#include <algorithm>
#include <optional>

#include "runtime/plan/absent_ranks.hpp"
#include "runtime/plan/counting_device.hpp"
#include "runtime/train/input_buffers.hpp"
#include "runtime/train/precision.hpp"

namespace esp::runtime {
namespace {

constexpr esp_dataset_desc kNoData = [] {
  esp_dataset_desc data{};
  data.struct_size = sizeof data;
  data.name = "";
  return data;
}();

// Says nothing: the run itself will.
class SilentObserver final : public Observer {};

esp_status ignore_binds(void*, const esp_bind*, uint32_t, esp_error*) { return ESP_OK; }

}  // namespace

class DryRun {
 public:
  explicit DryRun(const Job& job)
      : device_(new CountingDevice(job.config.run.device == esp::Device::kCuda ? ESP_CUDA : ESP_CPU)),
        session_(job, silent_, std::unique_ptr<Device>(device_), without_peers(job.ranks.rank, job.ranks.world)) {}

  MemoryPlan run(const esp_dataset_desc* data, Touching touching) {
    session_.describe_run();
    create_model(data);
    session_.create_strategy();
    const esp_model_need need = allocate_for_host();
    if (touching == Touching::kForbidden) device_->memory().forbid_touching();
    const esp_binder binder{sizeof(esp_binder), 0, nullptr, &ignore_binds};
    session_.strategy->call("prepare", &esp_strategy_v1::prepare, &session_.view->view(), &binder);
    if (session_.adapts()) adapt(need);
    const ShardStaging staging(*device_);
    return report(need);
  }

 private:
  void create_model(const esp_dataset_desc* data) {
    std::string missing;
    session_.data = data;
    try {
      if (data == nullptr) session_.create_dataset();
    } catch (const Error& error) {
      if (error.code() != ExitCode::kData) throw;
      session_.data = &kNoData;
      missing = error.what();
    }
    try {
      session_.create_model();
    } catch (const Error& error) {
      if (missing.empty()) throw;
      throw Error(error.code(), std::string(error.what()) + " (without data: " + missing + ")");
    }
    if (!missing.empty()) notes_.push_back("planned without data: " + missing);
  }

  // What the training loop takes itself, and what the model says it will take beside it.
  esp_model_need allocate_for_host() {
    if (session_.training()) session_.create_update();
    const std::span fields(session_.model_desc->inputs, session_.model_desc->n_inputs);
    session_.create_losses();
    inputs_.emplace(fields, session_.input_micros(), session_.input_rows(), *device_);
    session_.describe_model_run(inputs_->device().valid);
    esp_model_need need{};
    need.struct_size = sizeof need;
    session_.model->call("plan", &esp_model_v1::plan, &session_.model_run_, &need);
    return need;
  }

  void adapt(const esp_model_need& need) {
    session_.need_ = need;
    session_.adapt_to(0);
  }

  MemoryPlan report(const esp_model_need& need) const {
    const MemoryUsage usage = device_->memory().usage();
    uint64_t activations = 0;
    const uint32_t units = session_.model_desc->n_units;
    for (uint32_t unit = 0; session_.training() && unit < units; ++unit) {
      activations += need.activation_bytes[session_.model_run_.recompute * units + unit];
    }
    MemoryPlan plan;
    plan.strategy = session_.strategy->name();
    plan.model_name = session_.model_desc->name;
    plan.precision = precision_name(session_.precision_);
    plan.batch = session_.batch;
    plan.n_params = session_.view->elements();
    plan.by_tag = {usage.peak, usage.device.peak, usage.pinned.peak};
    for (TagBytes* tags : {&plan.by_tag.both, &plan.by_tag.device}) {
      (*tags)[ESP_TAG_ACTIVATION] += activations;
      (*tags)[ESP_TAG_WORKSPACE] += need.workspace_bytes;
    }
    plan.device_bytes = usage.device_peak + activations + need.workspace_bytes;
    plan.pinned_bytes = usage.pinned_peak;
    plan.notes = notes_;
    return plan;
  }

  SilentObserver silent_;
  CountingDevice* device_;  // the session's
  Session session_;
  std::optional<InputBuffers> inputs_;
  std::vector<std::string> notes_;
};

MemoryPlan plan_memory(const Job& job, const esp_dataset_desc* data, Touching touching) {
  return DryRun(job).run(data, touching);
}

std::optional<MemoryByTag> predict_memory(Session& session) {
  MemoryByTag bytes;
  std::vector<double> unknown = {0};
  try {
    bytes = plan_memory(session.job, session.data, Touching::kTolerated).by_tag;
  } catch (const Error& error) {
    unknown[0] = 1;
    session.observer.log(ESP_LOG_WARNING, "", std::string("memory cannot be predicted: ") + error.what());
  }
  session.world.control->all_reduce(unknown, ControlOp::kMax);
  if (unknown[0] != 0) return std::nullopt;
  return max_over_ranks(*session.world.control, bytes);
}

}  // namespace esp::runtime
