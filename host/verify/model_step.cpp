// Steps, evaluations, binds and inputs of a model.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "verify/element.hpp"
#include "verify/model_world.hpp"

namespace esp::verify {
namespace {

constexpr unsigned char kPoison = 0xff;  // NaN in every float dtype

}  // namespace

bool ModelWorld::begin_step(uint64_t index, uint32_t pass) {
  index_ = index;
  pass_ = pass;
  host_.here.step = static_cast<int64_t>(index);
  host_.fork(++segment_);
  n_ran_ = 0;
  return true;
}

esp_step ModelWorld::make_step(uint32_t micro, uint32_t flags) {
  esp_step step{};
  step.struct_size = sizeof step;
  step.flags = flags;
  step.index = index_;
  step.micro = micro;
  step.pass = pass_;
  step.compute = step.grads = host_.compute();
  return step;
}

bool ModelWorld::begin_micro(esp_step& step, uint32_t rows) {
  std::vector<const esp_tensor*> tensors;
  for (uint32_t i = 0; i < desc_->n_inputs; ++i) {
    Input& input = inputs_[step.micro][i];
    input.shape[0] = rows;
    input.tensor = {input.data, input.shape.data(), desc_->inputs[i]->dtype, static_cast<uint32_t>(input.shape.size())};
    tensors.push_back(&input.tensor);
  }
  host_.here.unit = -1;
  host_.here.pos = step.pos;
  return call(Role::kStep, "begin_micro", [&](esp_error* error) {
    return table_.begin_micro(self_, &step, tensors.data(), static_cast<uint32_t>(tensors.size()), error);
  });
}

bool ModelWorld::unit_call(const char* name, esp_step& step, uint32_t unit,
                           esp_status (*function)(void*, const esp_step*, uint32_t, esp_error*)) {
  host_.here.unit = unit;
  host_.here.pos = step.pos;
  const bool fine = call(Role::kStep, name, [&](esp_error* error) { return function(self_, &step, unit, error); });
  ++step.pos;
  return fine;
}

bool ModelWorld::train(uint32_t micro, const Before& before) {
  const std::vector<Kept> kept = before ? std::vector<Kept>() : keep(false);
  esp_step step = make_step(micro, 0);
  step.pos = 2 * desc_->n_units * micro;
  bool fine = begin_micro(step, scenario_.rows);
  for (uint32_t unit = 0; fine && unit < desc_->n_units; ++unit) {
    if (before) before(unit, false);
    fine = unit_call("forward_unit", step, unit, table_.forward_unit);
  }
  host_.here.unit = -1;
  fine = fine && call(Role::kStep, "loss", [&](esp_error* error) { return table_.loss(self_, &step, error); });
  for (uint32_t unit = desc_->n_units; fine && unit-- > 0;) {
    if (before) before(unit, true);
    fine = unit_call("backward_unit", step, unit, table_.backward_unit);
  }
  host_.here.unit = host_.here.pos = -1;
  check_kept(kept);
  return fine;
}

bool ModelWorld::evaluate() {
  const std::vector<Kept> kept = keep(true);
  host_.fork(++segment_);
  n_ran_ = 0;
  esp_step step = make_step(0, ESP_STEP_EVAL);
  step.pass = 0;
  bool fine = begin_micro(step, scenario_.eval_rows);
  for (uint32_t unit = 0; fine && unit < desc_->n_units; ++unit) {
    fine = unit_call("forward_unit", step, unit, table_.forward_unit);
  }
  host_.here.unit = host_.here.pos = -1;
  fine = fine && call(Role::kStep, "loss", [&](esp_error* error) { return table_.loss(self_, &step, error); });
  check_kept(kept);
  return fine;
}

std::vector<ModelWorld::Kept> ModelWorld::keep(bool evaluation) const {
  std::vector<Kept> kept;
  const auto add = [&](const std::string& name, const void* data, uint64_t bytes) {
    const auto* begin = static_cast<const char*>(data);
    kept.push_back({name, data, std::vector<char>(begin, begin + bytes)});
  };
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    const std::string name = desc_->params[i]->name;
    add("parameter " + name, params_[i], desc_->params[i]->numel * ESP_DTYPE_BYTES(run_.compute_t));
    if (evaluation && gradients_[i] != nullptr) {
      add("the gradient of " + name, gradients_[i], desc_->params[i]->numel * ESP_DTYPE_BYTES(run_.grad_t));
    }
  }
  const uint32_t rows = std::max(scenario_.rows, scenario_.eval_rows);
  for (const auto& inputs : inputs_) {
    for (uint32_t i = 0; i < desc_->n_inputs; ++i) {
      add(std::string("input ") + desc_->inputs[i]->name, inputs[i].data, inputs[i].row_bytes * rows);
    }
  }
  add("*loss_seed", loss_seed_, sizeof *loss_seed_);
  add("valid", valid_, inputs_.size() * sizeof *valid_);
  if (!evaluation) add("predicted, in training,", predicted_, scenario_.eval_rows * sizeof *predicted_);
  if (!evaluation && pass_ > 0) {
    add("*loss_sum, in a later pass,", loss_sum_, sizeof *loss_sum_);
    add("*correct, in a later pass,", correct_, sizeof *correct_);
  }
  return kept;
}

void ModelWorld::check_kept(const std::vector<Kept>& kept) {
  for (const Kept& one : kept) {
    if (std::memcmp(one.data, one.content.data(), one.content.size()) != 0) {
      host_.found("MODEL-06", one.name + " was written");
    }
  }
}

bool ModelWorld::bind(const std::vector<esp_bind>& binds) {
  return call(Role::kStep, "bind", [&](esp_error* error) {
    return table_.bind(self_, binds.data(), static_cast<uint32_t>(binds.size()), error);
  });
}

bool ModelWorld::bind_parameter(uint32_t param) {
  if (desc_->params[param]->numel == 0) return true;
  return bind({{param, ESP_BIND_PARAM, params_[param], run_.compute_t, 0}});
}

bool ModelWorld::bind_gradients(uint32_t mode) {
  std::vector<esp_bind> binds;
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    if (gradients_[i] != nullptr) binds.push_back({i, ESP_BIND_GRAD, gradients_[i], run_.grad_t, mode});
  }
  return bind(binds);
}

bool ModelWorld::move_parameter(uint32_t param) {
  const uint64_t bytes = desc_->params[param]->numel * ESP_DTYPE_BYTES(run_.compute_t);
  if (bytes == 0) return true;
  char* const before = params_[param];
  params_[param] = static_cast<char*>(take(bytes));
  std::memcpy(params_[param], before, bytes);
  const bool fine = bind_parameter(param);
  host_.arena.release(before);
  return fine;
}

void ModelWorld::poison_gradients() {
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    if (gradients_[i] == nullptr) continue;
    std::memset(gradients_[i], kPoison, desc_->params[i]->numel * ESP_DTYPE_BYTES(run_.grad_t));
  }
}

void ModelWorld::draw_inputs(uint64_t seed) {
  random_.seed(seed);
  for (uint32_t micro = 0; micro < inputs_.size(); ++micro) {
    for (uint32_t row = 0; row < std::max(scenario_.rows, scenario_.eval_rows); ++row) draw_row(micro, row);
  }
}

void ModelWorld::draw_row(uint32_t micro, uint32_t row) {
  for (uint32_t i = 0; i < desc_->n_inputs; ++i) {
    const Input& input = inputs_[micro][i];
    draw(*desc_->inputs[i], input.data + row * input.row_bytes);
  }
}

// Fields whose meaning the contract does not fix are bytes, small integers, or numbers between 0 and 1.
void ModelWorld::draw(const esp_field& field, char* row) const {
  const std::string name = field.name;
  uint64_t n = 1;
  for (uint32_t d = 0; d < field.ndim; ++d) n *= static_cast<uint64_t>(field.shape[d]);
  const uint64_t limit = name == "flip" ? 2 : name == "label" ? std::min(desc_->n_classes, 3u) : 256;
  for (uint64_t i = 0; i < n; ++i) {
    const uint64_t drawn = random_();
    if (is_float(field.dtype)) {
      store(row, i, field.dtype, static_cast<double>(drawn >> 11) * 0x1p-53);
    } else {
      const uint64_t number = drawn % limit;
      std::memcpy(row + i * ESP_DTYPE_BYTES(field.dtype), &number, ESP_DTYPE_BYTES(field.dtype));
    }
  }
}

int64_t ModelWorld::label(uint32_t micro, uint32_t row) const {
  for (uint32_t i = 0; i < desc_->n_inputs; ++i) {
    if (std::string(desc_->inputs[i]->name) != "label") continue;
    int64_t label = 0;
    std::memcpy(&label, inputs_[micro][i].data + row * inputs_[micro][i].row_bytes, sizeof label);
    return label;
  }
  return -1;
}

void ModelWorld::set_value(uint32_t param, uint64_t element, double value) {
  store(params_[param], element, run_.compute_t, value);
}

double ModelWorld::value(uint32_t param, uint64_t element) const {
  return load(params_[param], element, run_.compute_t);
}

Gradients ModelWorld::gradients() const {
  Gradients all(desc_->n_params);
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    if (gradients_[i] == nullptr) continue;
    all[i].resize(desc_->params[i]->numel);
    for (uint64_t e = 0; e < all[i].size(); ++e) all[i][e] = load(gradients_[i], e, run_.grad_t);
  }
  return all;
}

std::string ModelWorld::unwritten() const {
  std::vector<bool> used(desc_->n_params);
  for (uint32_t unit = 0; unit < desc_->n_units; ++unit) {
    for (uint32_t i = 0; i < desc_->units[unit]->n_uses; ++i) used[desc_->units[unit]->uses[i]] = true;
  }
  const uint64_t bytes = ESP_DTYPE_BYTES(run_.grad_t);
  const std::vector<char> poison(bytes, static_cast<char>(kPoison));
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    for (uint64_t e = 0; used[i] && gradients_[i] != nullptr && e < desc_->params[i]->numel; ++e) {
      if (std::isfinite(load(gradients_[i], e, run_.grad_t))) continue;
      const bool is_poison = std::memcmp(gradients_[i] + e * bytes, poison.data(), bytes) == 0;
      return std::string("the gradient of ") + desc_->params[i]->name + ", element " + std::to_string(e) +
             (is_poison ? ", was not written" : ", is not finite");
    }
  }
  return "";
}

ModelMetrics ModelWorld::take_metrics() {
  const ModelMetrics metrics{*loss_sum_, *correct_};
  *loss_sum_ = 0;
  *correct_ = 0;
  return metrics;
}

}  // namespace esp::verify
