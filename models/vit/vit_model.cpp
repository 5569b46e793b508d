#include "vit_model.hpp"

#include <algorithm>

#include "activation_plan.hpp"
#include "fused/fused_setup.hpp"
#include "fused_library.hpp"
#include "hf_folder.hpp"
#include "reference/reference_executor.hpp"

namespace esp::vit {
namespace {

constexpr uint32_t kDecayGroup = 0;
constexpr uint32_t kNoDecayGroup = 1;

std::vector<std::string> texts(Slice<const char* const> names) { return {names.begin(), names.end()}; }

}  // namespace

ViTModel::ViTModel(Host& host, const Options& options)
    : host_(host),
      run_(host.run()),
      definition_(options, texts(host.classes()), run_.device_kind == ESP_CUDA ? "base" : "tiny"),
      wanted_(options.executor),
      choice_(choose_executor(wanted_, run_, fused::shape_of(definition_.config()))) {
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
  for (const std::string& level : recompute_levels(choice_.fused)) description_.add_recompute(level);
  for (const std::string& note : definition_.notes()) description_.add_note(note);
  if (!choice_.note.empty()) description_.add_note(choice_.note);
  description_.add_precision(ESP_PRECISION_FP32);
  if (run_.device_kind == ESP_CUDA) description_.add_precision(ESP_PRECISION_TF32);
  description_.add_precision(ESP_PRECISION_BF16);
  description_.add_precision(ESP_PRECISION_FP16);
  desc_ = &description_.desc();
}

const esp_model_desc& ViTModel::describe() { return *desc_; }

esp_model_need ViTModel::plan(const esp_model_run& run) {
  require_level(run);
  if (takes_fused(run)) return plan_fused(run);
  const uint32_t level = reference_level(desc_->recompute[run.recompute]);
  std::vector<bool> trainable(desc_->n_params);
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    trainable[i] = run.mode == ESP_MODE_TRAIN && (run.trainable == nullptr || run.trainable[i] != 0);
  }
  const bool widens = run.compute_t == ESP_F16 && run_.device_kind == ESP_CPU;  // see reference/products.hpp
  const ElementBytes element_bytes{ESP_DTYPE_BYTES(run.compute_t), widens ? sizeof(float) : 0};
  const bool in_place = run.n_micro <= 1 && run.grad_t == run.compute_t;
  const ActivationSizes sizes = plan_activations(definition_.config(), run.micro_rows, element_bytes,
                                                 TorchModel::first_trainable_unit(*desc_, trainable), in_place);
  // Rows of levels that only the fused executor has stay zero: no run of the reference has one.
  planned_.assign(size_t{desc_->n_recompute} * desc_->n_units, 0);
  for (uint32_t own = 0; own < kRecomputeLevels; ++own) {
    const uint32_t row = own == 0 ? 0 : desc_->n_recompute - 1;  // "none" is the first on offer, "block" the last
    const auto from = sizes.kept.begin() + ptrdiff_t{own} * desc_->n_units;
    std::copy(from, from + desc_->n_units, planned_.begin() + ptrdiff_t{row} * desc_->n_units);
  }
  esp_model_need need{};
  need.struct_size = sizeof need;
  need.activation_bytes = planned_.data();
  need.workspace_bytes = sizes.workspace.at(level);
  return need;
}

void ViTModel::require_level(const esp_model_run& run) const {
  if (run.recompute >= desc_->n_recompute) fail(ESP_E_INVALID, "there is no recompute level ", run.recompute);
}

bool ViTModel::takes_fused(const esp_model_run& run) const {
  if (wanted_ == "fused" && !is_half(run.compute_t)) {
    fail(ESP_E_UNSUPPORTED, "model.executor = \"fused\": it computes in bf16 and fp16 only; set train.precision");
  }
  return choice_.fused && is_half(run.compute_t);
}

esp_model_need ViTModel::plan_fused(const esp_model_run& run) {
  const uint64_t rows = run.mode == ESP_MODE_TRAIN ? run.micro_rows : 0;
  const fused::MemoryNeed sizes = fused::memory_need(fused::shape_of(definition_.config()), rows, run.eval_rows,
                                                     static_cast<fused::Keep>(run.recompute));
  planned_ = sizes.kept;
  esp_model_need need{};
  need.struct_size = sizeof need;
  need.activation_bytes = planned_.data();
  need.workspace_bytes = sizes.workspace;
  return need;
}

void ViTModel::prepare(const esp_model_run& run) {
  require_level(run);
  const bool fused = takes_fused(run);
  if (fused && wanted_ == "auto" && find_fused_library().empty()) {
    host_.log.warning("this build has no fused executor (no libvit_cuda.so): the reference computes");
    prepare_reference(run);
  } else if (fused) {
    prepare_fused(run);
  } else {
    prepare_reference(run);
  }
}

void ViTModel::prepare_fused(const esp_model_run& run) {
  std::vector<fused::BlockParameters> blocks;
  fused::Setup setup = fused::make_setup(definition_.config(), definition_.parameters(), definition_.scaling(), blocks);
  setup.device = run_.device_index;
  setup.memory = &host_.memory.table();
  setup.memory_ctx = host_.memory.ctx();
  setup.log = host_.log.offered() ? &host_.log.table() : nullptr;
  setup.log_ctx = host_.log.ctx();
  fused_ = std::make_unique<FusedExecution>(setup);
  fused_->prepare(run);
}

void ViTModel::prepare_reference(const esp_model_run& run) {
  esp_model_run own = run;
  own.recompute = reference_level(desc_->recompute[run.recompute]);
  reference_ =
      std::make_unique<ReferenceExecutor>(*desc_, torch_device(run_.device_kind, run_.device_index),
                                          definition_.config(), definition_.parameters(), definition_.scaling());
  reference_->prepare(own);
}

template <class Function>
void ViTModel::compute(Function function) {
  if (fused_ != nullptr) {
    function(*fused_);
  } else {
    function(*reference_);
  }
}

void ViTModel::init_range(uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out) {
  definition_.init_range(param, seed, lo, hi, out);
}

void ViTModel::bind(Slice<const esp_bind> binds) {
  compute([&](auto& executor) { executor.bind(binds); });
}

void ViTModel::begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs) {
  check_inputs(inputs);
  compute([&](auto& executor) { executor.begin_micro(step, inputs); });
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

void ViTModel::forward_unit(const esp_step& step, uint32_t unit) {
  compute([&](auto& executor) { executor.forward_unit(step, unit); });
}

void ViTModel::loss(const esp_step& step) {
  compute([&](auto& executor) { executor.loss(step); });
}

void ViTModel::backward_unit(const esp_step& step, uint32_t unit) {
  compute([&](auto& executor) { executor.backward_unit(step, unit); });
}

void ViTModel::memory_stats(uint64_t* by_tag) {
  if (reference_ != nullptr) reference_->memory_stats(by_tag);
}

void ViTModel::save(const char* folder, Slice<const float* const> values, esp_dtype dtype) {
  if (values.size() != desc_->n_params) {
    fail(ESP_E_INVALID, "got values of ", values.size(), " parameters, the model has ", desc_->n_params);
  }
  write_hf_folder(folder, definition_.config(), definition_.parameters(), definition_.scaling(), values.data(), dtype);
}

}  // namespace esp::vit
