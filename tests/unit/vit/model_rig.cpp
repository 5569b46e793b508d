#include "model_rig.hpp"

#include <ATen/Parallel.h>

#include <cstring>
#include <espalier/torch_model.hpp>

#include "vit_model.hpp"

namespace esp::vit::test {
namespace {

esp_error empty_error() {
  esp_error error{};
  error.struct_size = sizeof error;
  return error;
}

template <class O, class T>
void override_value(std::vector<esp_value>& values, const char* key, const T& value) {
  const auto options = schema_of<O>().options();
  for (size_t i = 0; i < options.size(); ++i) {
    if (std::strcmp(options[i]->key, key) != 0) continue;
    if constexpr (std::is_same_v<T, std::string>) {
      values[i].v.s = value.c_str();
    } else if constexpr (std::is_same_v<T, double>) {
      values[i].v.f = value;
    } else {
      values[i].v.i = value;
    }
  }
}

}  // namespace

ViTOptions small_options() {
  ViTOptions options;
  options.hidden_size = 32;
  options.num_hidden_layers = 2;
  options.num_attention_heads = 4;
  options.intermediate_size = 48;
  options.image_size = 32;
  options.patch_size = 8;
  options.layer_norm_eps = 1e-6;
  return options;
}

at::Tensor formula_pixels(int64_t rows, int64_t size) {
  const at::Tensor index = at::arange(rows * size * size * 3, at::kLong);
  return at::floor_divide((index * 2654435761 + 12345).remainder(4294967296), 16777216)
      .to(at::kByte)
      .view({rows, size, size, 3});
}

Batch formula_batch(int64_t rows, int64_t size) {
  Batch batch{formula_pixels(rows, size), at::zeros({rows}, at::kByte),
              at::arange(2, 2 + rows, at::kLong).remainder(3)};
  if (rows > 1) batch.flip[1].fill_(1);
  return batch;
}

ModelRig::ModelRig(const RigSetup& setup) : setup_(setup) {
  at::set_num_threads(1);  // tensors are tiny
  facts_ = {sizeof facts_, ESP_MODE_TRAIN, 0, 1, ESP_CPU, 0, setup.n_micro, 2, ESP_PRECISION_FP32, 0, 42, 0, 0};
  host_ = {sizeof host_, 0, nullptr, [](void*, const char*) -> const void* { return nullptr; }};
  for (const esp_option* option : schema_of<ViTOptions>().options()) values_.push_back(option->def);
  const ViTOptions& o = setup_.options;
  override_value<ViTOptions>(values_, "size", o.size);
  override_value<ViTOptions>(values_, "hidden_size", o.hidden_size);
  override_value<ViTOptions>(values_, "num_hidden_layers", o.num_hidden_layers);
  override_value<ViTOptions>(values_, "num_attention_heads", o.num_attention_heads);
  override_value<ViTOptions>(values_, "intermediate_size", o.intermediate_size);
  override_value<ViTOptions>(values_, "image_size", o.image_size);
  override_value<ViTOptions>(values_, "patch_size", o.patch_size);
  override_value<ViTOptions>(values_, "layer_norm_eps", o.layer_norm_eps);
  override_value<ViTOptions>(values_, "weights", o.weights);
  for (const std::string& name : setup_.classes) class_list_.push_back(name.c_str());
  config_ = {sizeof config_,
             static_cast<uint32_t>(values_.size()),
             values_.data(),
             &facts_,
             class_list_.data(),
             static_cast<uint32_t>(class_list_.size()),
             0};
  constexpr Registration kRegistration = esp::model<ViTModel>("vit", "", ESP_CAP_CPU);
  table_ = static_cast<const esp_model_v1*>(kRegistration.table(ESP_MODEL_ID));
  esp_error error = empty_error();
  check(kRegistration.create(&host_, &config_, &self_, &error), error);
  check(table_->describe(self_, &desc_, &error), error);

  trainable.assign(desc_->n_params, 1);
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    for (const std::string& part : setup_.frozen)
      trainable[i] &= std::strstr(desc_->params[i]->name, part.c_str()) == nullptr;
  }
  valid.assign(setup.n_micro, setup.rows);
  predicted.assign(setup.rows, -1);
  run = {sizeof run,      ESP_MODE_TRAIN,     setup.rows, setup.rows,      setup.n_micro,
         setup.recompute, ESP_PRECISION_FP32, 0,          setup.compute_t, setup.grad_t,
         nullptr,         trainable.data(),   &loss_seed, valid.data(),    &loss_sum,
         &correct,        predicted.data()};
  check(table_->prepare(self_, &run, &error), error);
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    const esp_param& param = *desc_->params[i];
    at::Tensor value = at::empty(at::IntArrayRef(param.shape, param.ndim), at::kFloat);
    check(table_->init_range(self_, i, 5, 0, param.numel, value.data_ptr<float>(), &error), error);
    params.push_back(value.to(torch_dtype(setup.compute_t)));
    grads.push_back(at::full_like(params[i], 77, torch_dtype(setup.grad_t)));
    bind_param(i, params[i].data_ptr());
    if (setup.bind_gradients) bind_grad(i, grads[i].data_ptr(), ESP_WRITE_EACH_PASS);
  }
}

ModelRig::~ModelRig() { table_->destroy(self_); }

void ModelRig::check(esp_status status, const esp_error& error) const {
  if (status != ESP_OK) throw Failure(status, error.message, error.where);
}

uint32_t ModelRig::id_of(const std::string& name) const {
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    if (name == desc_->params[i]->name) return i;
  }
  throw std::out_of_range(name);
}

esp_model_need ModelRig::plan() const {
  esp_model_need need{};
  need.struct_size = sizeof need;
  esp_error error = empty_error();
  check(table_->plan(self_, &run, &need, &error), error);
  return need;
}

uint64_t ModelRig::activation_bytes() const {
  uint64_t by_tag[ESP_N_TAGS] = {};
  esp_error error = empty_error();
  check(table_->memory_stats(self_, by_tag, &error), error);
  return by_tag[ESP_TAG_ACTIVATION];
}

esp_step ModelRig::step_of(uint32_t micro, bool evaluation) {
  return {sizeof(esp_step), evaluation ? ESP_STEP_EVAL : 0, index_, micro, pass_, pos_, 0, nullptr, nullptr};
}

void ModelRig::begin(uint32_t micro, const Batch& given, bool evaluation) {
  const Batch& batch = inputs_[micro] = given;
  const esp_step step = step_of(micro, evaluation);
  const auto as_input = [](const at::Tensor& tensor, esp_dtype dtype) {
    return esp_tensor{tensor.data_ptr(), tensor.sizes().data(), dtype, static_cast<uint32_t>(tensor.dim())};
  };
  const esp_tensor inputs[] = {as_input(batch.pixels, ESP_U8), as_input(batch.flip, ESP_U8),
                               as_input(batch.label, ESP_I64)};
  const esp_tensor* list[] = {&inputs[0], &inputs[1], &inputs[2]};
  esp_error error = empty_error();
  check(table_->begin_micro(self_, &step, list, 3, &error), error);
}

void ModelRig::forward(uint32_t micro, uint32_t unit, bool evaluation) {
  const esp_step step = step_of(micro, evaluation);
  esp_error error = empty_error();
  check(table_->forward_unit(self_, &step, unit, &error), error);
  ++pos_;
}

void ModelRig::loss(uint32_t micro, bool evaluation) {
  const esp_step step = step_of(micro, evaluation);
  esp_error error = empty_error();
  check(table_->loss(self_, &step, &error), error);
}

void ModelRig::backward(uint32_t micro, uint32_t unit) {
  const esp_step step = step_of(micro, false);
  esp_error error = empty_error();
  check(table_->backward_unit(self_, &step, unit, &error), error);
  ++pos_;
}

void ModelRig::end_pass() {
  ++index_;
  pass_ = pos_ = 0;
}

void ModelRig::next_pass() {
  ++pass_;
  pos_ = 0;
}

void ModelRig::forward_all(uint32_t micro, const Batch& batch) {
  begin(micro, batch);
  for (uint32_t unit = 0; unit < n_units(); ++unit) forward(micro, unit);
}

void ModelRig::backward_all(uint32_t micro) {
  loss(micro);
  for (uint32_t unit = n_units(); unit-- > 0;) backward(micro, unit);
}

void ModelRig::step(const std::vector<Batch>& batches) {
  for (uint32_t micro = 0; micro < batches.size(); ++micro) {
    forward_all(micro, batches[micro]);
    backward_all(micro);
  }
  end_pass();
}

void ModelRig::evaluate(const Batch& batch) {
  const uint32_t pos = std::exchange(pos_, 0);
  begin(0, batch, true);
  for (uint32_t unit = 0; unit < n_units(); ++unit) forward(0, unit, true);
  loss(0, true);
  pos_ = pos;
}

std::string ModelRig::failure(const std::vector<esp_bind>& binds) {
  esp_error error = empty_error();
  return table_->bind(self_, binds.data(), static_cast<uint32_t>(binds.size()), &error) == ESP_OK ? "" : error.message;
}

void ModelRig::bind_param(uint32_t id, void* data) {
  const std::string text = failure({{id, ESP_BIND_PARAM, data, setup_.compute_t, 0}});
  if (!text.empty()) throw std::runtime_error(text);
}

void ModelRig::bind_grad(uint32_t id, void* data, uint32_t mode) {
  const std::string text = failure({{id, ESP_BIND_GRAD, data, setup_.grad_t, mode}});
  if (!text.empty()) throw std::runtime_error(text);
}

}  // namespace esp::vit::test
