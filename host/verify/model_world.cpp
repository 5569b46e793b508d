#include "verify/model_world.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "modules/adopt.hpp"
#include "verify/element.hpp"

namespace esp::verify {
namespace {

constexpr const char* kClasses[] = {"first", "second", "third"};
constexpr int32_t kNoPrediction = -77;

const void* model_service(void* ctx, const char* id) {
  const std::string name = id == nullptr ? "" : id;
  return name == ESP_COMM_ID || name == ESP_UPDATE_ID ? nullptr : service_table(ctx, id);
}

RankSettings settings_of(const ModelScenario& scenario) {
  RankSettings settings;
  settings.infer = scenario.mode == ESP_MODE_INFER;
  settings.refuse_allocation = scenario.refuse_allocation;
  return settings;
}

}  // namespace

esp_dtype compute_type(uint32_t precision) {
  return precision == ESP_PRECISION_BF16 ? ESP_BF16 : precision == ESP_PRECISION_FP16 ? ESP_F16 : ESP_F32;
}

ModelWorld::ModelWorld(const ModuleComponent& component, const OptionSet& options, const ModelScenario& scenario,
                       Findings& findings)
    : component_(component),
      options_(options),
      scenario_(scenario),
      toy_(1),
      host_(settings_of(scenario), toy_, findings, [](int) {}),
      table_(adopt<esp_model_v1>(component.component.table(ESP_MODEL_ID))),
      services_{sizeof services_, 0, &host_, model_service},
      random_(scenario.seed) {
  host_.here.rank = -1;
  facts_.struct_size = sizeof facts_;
  facts_.mode = scenario.mode;
  facts_.world = 1;
  facts_.device_kind = ESP_CPU;
  facts_.n_micro = scenario.mode == ESP_MODE_TRAIN ? scenario.n_micro : 0;
  facts_.n_passes_max = 2;
  facts_.precision = scenario.precision;
  facts_.flags = ESP_RUN_DETERMINISTIC;
  facts_.seed = scenario.seed;
  const auto values = options.values();
  config_ = {sizeof config_, static_cast<uint32_t>(values.size()), values.data(), &facts_, kClasses, 3, 0};
}

ModelWorld::~ModelWorld() {
  if (self_ == nullptr) return;
  host_.here = {};
  host_.destroy([&] { table_.destroy(self_); });
}

bool ModelWorld::call(Role role, const char* name, const Call& function, bool may_refuse) {
  if (const auto failure = host_.call(role, name, function, may_refuse)) {
    if (may_refuse) refusal = *failure;
    return false;
  }
  for (; n_ran_ < host_.ops.size(); ++n_ran_) {
    if (host_.ops[n_ran_].run) host_.ops[n_ran_].run();
  }
  return true;
}

bool ModelWorld::create() {
  return call(
             Role::kMain, "create",
             [&](esp_error* error) { return component_.component.create(&services_, &config_, &self_, error); },
             true) &&
         call(Role::kMain, "describe", [&](esp_error* error) { return table_.describe(self_, &desc_, error); });
}

void ModelWorld::fill_run() {
  trainable_ = scenario_.trainable;
  trainable_.resize(desc_->n_params);
  for (uint32_t i = 0; scenario_.trainable.empty() && i < desc_->n_params; ++i) {
    trainable_[i] = (desc_->params[i]->flags & ESP_PARAM_TRAINABLE) != 0 ? 1 : 0;
  }
  run_.struct_size = sizeof run_;
  run_.mode = scenario_.mode;
  run_.micro_rows = scenario_.rows;
  run_.eval_rows = scenario_.eval_rows;
  run_.n_micro = facts_.n_micro;
  run_.recompute = scenario_.recompute;
  run_.precision = scenario_.precision;
  run_.flags = facts_.flags;
  run_.compute_t = run_.grad_t = compute_type(scenario_.precision);
  run_.compute = host_.compute();
  run_.trainable = trainable_.data();
}

bool ModelWorld::plan() {
  fill_run();
  need_ = {sizeof need_, 0, nullptr, 0};
  return call(
      Role::kPlan, "plan", [&](esp_error* error) { return table_.plan(self_, &run_, &need_, error); }, true);
}

void ModelWorld::allocate() {
  const bool training = scenario_.mode == ESP_MODE_TRAIN;
  const uint32_t n_micro = std::max(facts_.n_micro, 1u), rows = std::max(scenario_.rows, scenario_.eval_rows);
  loss_seed_ = static_cast<float*>(take(sizeof(float)));
  valid_ = static_cast<uint32_t*>(take(n_micro * sizeof(uint32_t)));
  loss_sum_ = static_cast<double*>(take(sizeof(double)));
  correct_ = static_cast<uint64_t*>(take(sizeof(uint64_t)));
  predicted_ = static_cast<int32_t*>(take(scenario_.eval_rows * sizeof(int32_t)));
  *loss_seed_ = 1;
  std::fill_n(valid_, n_micro, scenario_.rows);
  std::fill_n(predicted_, scenario_.eval_rows, kNoPrediction);
  run_.loss_seed = training ? loss_seed_ : nullptr;
  run_.valid = valid_;
  run_.loss_sum = loss_sum_;
  run_.correct = correct_;
  run_.predicted = predicted_;
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    const uint64_t numel = desc_->params[i]->numel;
    const bool has_gradient = training && trainable_[i] != 0 && numel > 0;
    params_.push_back(static_cast<char*>(take(numel * ESP_DTYPE_BYTES(run_.compute_t))));
    gradients_.push_back(has_gradient ? static_cast<char*>(take(numel * ESP_DTYPE_BYTES(run_.grad_t))) : nullptr);
  }
  inputs_.resize(n_micro);
  for (auto& inputs : inputs_) {
    for (uint32_t i = 0; i < desc_->n_inputs; ++i) {
      const esp_field& field = *desc_->inputs[i];
      Input input;
      input.row_bytes = ESP_DTYPE_BYTES(field.dtype);
      input.shape.push_back(0);
      for (uint32_t d = 0; d < field.ndim; ++d) {
        input.shape.push_back(field.shape[d]);
        input.row_bytes *= static_cast<uint64_t>(field.shape[d]);
      }
      input.data = static_cast<char*>(take(rows * input.row_bytes));
      inputs.push_back(std::move(input));
    }
  }
}

bool ModelWorld::prepare() {
  allocate();
  draw_inputs(scenario_.seed);
  const bool may_refuse = scenario_.refuse_allocation >= 0;
  if (!call(
          Role::kMain, "prepare", [&](esp_error* error) { return table_.prepare(self_, &run_, error); }, may_refuse)) {
    return false;
  }
  if (!take_initial_values()) return false;
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    if (!bind_parameter(i)) return false;
  }
  poison_gradients();
  return scenario_.mode != ESP_MODE_TRAIN || bind_gradients(ESP_WRITE_EACH_PASS);
}

bool ModelWorld::take_initial_values() {
  for (uint32_t i = 0; i < desc_->n_params; ++i) {
    std::vector<float> values(desc_->params[i]->numel);
    if (!initial_values(i, 0, values.size(), values.data())) return false;
    for (uint64_t e = 0; e < values.size(); ++e) set_value(i, e, values[e]);
  }
  return true;
}

bool ModelWorld::initial_values(uint32_t param, uint64_t lo, uint64_t hi, float* out) {
  return call(Role::kMain, "init_range",
              [&](esp_error* error) { return table_.init_range(self_, param, scenario_.seed, lo, hi, out, error); });
}

bool ModelWorld::save(const std::string& folder, const std::vector<std::vector<float>>& values) {
  std::vector<const float*> pointers;
  for (const auto& one : values) pointers.push_back(one.data());
  return call(
      Role::kMain, "save",
      [&](esp_error* error) {
        return table_.save(self_, folder.c_str(), pointers.data(), desc_->n_params, ESP_F32, error);
      },
      true);
}

bool ModelWorld::memory_stats(uint64_t by_tag[ESP_N_TAGS]) {
  std::fill(by_tag, by_tag + ESP_N_TAGS, uint64_t{0});
  const bool told = table_.memory_stats != nullptr && call(Role::kMain, "memory_stats", [&](esp_error* error) {
                      return table_.memory_stats(self_, by_tag, error);
                    });
  for (const Arena::Allocation& own : host_.arena.history()) {
    if (own.living && own.tag != ESP_TAG_INPUT) by_tag[own.tag] += own.bytes;
  }
  return told || allocations_asked() > 0;
}

}  // namespace esp::verify
