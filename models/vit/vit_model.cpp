#include "vit_model.hpp"

#include "activation_plan.hpp"
#include "hf_folder.hpp"
#include "reference/reference_executor.hpp"

namespace esp::vit {
namespace {

constexpr uint32_t kDecayGroup = 0;
constexpr uint32_t kNoDecayGroup = 1;

std::vector<std::string> texts(Slice<const char* const> names) { return {names.begin(), names.end()}; }

}  // namespace

ViTModel::ViTModel(Host& host, const Options& options)
    : run_(host.run()), definition_(options, texts(host.classes()), run_.device_kind == ESP_CUDA ? "base" : "tiny") {
  build_description();
}

ViTModel::~ViTModel() = default;

void ViTModel::build_description() {
  const ViTConfig& config = definition_.config();
  const ViTParameters& parameters = definition_.parameters();
  description_.set_name(definition_.name());
  description_.set_classes(static_cast<uint32_t>(config.num_labels()));
  for (const ViTParameter& parameter : parameters.all()) {
    const bool decays = parameter.shape.size() > 1;
    description_.add_param(parameter.name, parameter.shape, ESP_PARAM_TRAINABLE | (decays ? 0 : ESP_PARAM_NO_DECAY),
                           decays ? kDecayGroup : kNoDecayGroup);
  }
  const std::vector<double> flops = unit_flops(config);
  for (uint32_t unit = 0; unit < parameters.n_units(); ++unit) {
    const auto [begin, end] = parameters.of_unit(unit);
    std::vector<uint32_t> uses;
    for (uint32_t id = begin; id < end; ++id) uses.push_back(id);
    description_.add_unit(parameters.unit_name(unit), uses, flops[unit]);
  }
  description_.add_input("pixels", ESP_U8, {config.image_size, config.image_size, 3});
  description_.add_input("flip", ESP_U8, {});
  description_.add_input("label", ESP_I64, {});
  description_.add_recompute("none");
  description_.add_recompute("block");
  for (const std::string& note : definition_.notes()) description_.add_note(note);
  description_.add_precision(ESP_PRECISION_FP32);
  if (run_.device_kind == ESP_CUDA) description_.add_precision(ESP_PRECISION_TF32);
  description_.add_precision(ESP_PRECISION_BF16);
  description_.add_precision(ESP_PRECISION_FP16);
  desc_ = &description_.desc();
}

const esp_model_desc& ViTModel::describe() { return *desc_; }

esp_model_need ViTModel::plan(const esp_model_run& run) {
  require_level(run);
  std::vector<bool> trainable(desc_->n_params);
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    trainable[i] = run.mode == ESP_MODE_TRAIN && (run.trainable == nullptr || run.trainable[i] != 0);
  }
  const ActivationSizes sizes = plan_activations(definition_.config(), run.micro_rows, ESP_DTYPE_BYTES(run.compute_t),
                                                 TorchModel::first_trainable_unit(*desc_, trainable));
  planned_ = sizes.kept;
  esp_model_need need{};
  need.struct_size = sizeof need;
  need.activation_bytes = planned_.data();
  need.workspace_bytes = sizes.workspace.at(run.recompute);
  return need;
}

void ViTModel::require_level(const esp_model_run& run) const {
  if (run.recompute >= desc_->n_recompute) fail(ESP_E_INVALID, "there is no recompute level ", run.recompute);
}

void ViTModel::prepare(const esp_model_run& run) {
  require_level(run);
  executor_ =
      std::make_unique<ReferenceExecutor>(*desc_, torch_device(run_.device_kind, run_.device_index),
                                          definition_.config(), definition_.parameters(), definition_.scaling());
  executor_->prepare(run);
}

void ViTModel::init_range(uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out) {
  definition_.init_range(param, seed, lo, hi, out);
}

void ViTModel::bind(Slice<const esp_bind> binds) { executor_->bind(binds); }

void ViTModel::begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs) {
  check_inputs(inputs);
  executor_->begin_micro(step, inputs);
}

// LibTorch would notice much later, and not by name.
void ViTModel::check_inputs(Slice<const esp_tensor* const> inputs) const {
  bool fits = inputs.size() == desc_->n_inputs;
  for (size_t i = 0; fits && i < inputs.size(); ++i) {
    const esp_field& field = *desc_->inputs[i];
    fits = inputs[i]->dtype == field.dtype && inputs[i]->ndim == field.ndim + 1 &&
           std::equal(field.shape, field.shape + field.ndim, inputs[i]->shape + 1);
    if (!fits) fail(ESP_E_INVALID, "input ", field.name, " does not have the dtype and shape that describe() tells");
  }
  if (!fits) fail(ESP_E_INVALID, "got ", inputs.size(), " inputs, describe() tells ", desc_->n_inputs);
}

void ViTModel::forward_unit(const esp_step& step, uint32_t unit) { executor_->forward_unit(step, unit); }

void ViTModel::loss(const esp_step& step) { executor_->loss(step); }

void ViTModel::backward_unit(const esp_step& step, uint32_t unit) { executor_->backward_unit(step, unit); }

void ViTModel::memory_stats(uint64_t* by_tag) {
  if (executor_ != nullptr) executor_->memory_stats(by_tag);
}

void ViTModel::save(const char* folder, Slice<const float* const> values, esp_dtype dtype) {
  if (values.size() != desc_->n_params) {
    fail(ESP_E_INVALID, "got values of ", values.size(), " parameters, the model has ", desc_->n_params);
  }
  write_hf_folder(folder, definition_.config(), definition_.parameters(), definition_.scaling(), values.data(), dtype);
}

}  // namespace esp::vit
