#include "vit_definition.hpp"

#include <algorithm>
#include <espalier/failure.hpp>
#include <nlohmann/json.hpp>

#include "initial_values.hpp"
#include "io/strict_json.hpp"
#include "resolve_config.hpp"

namespace esp::vit {

ViTDefinition::ViTDefinition(const ViTOptions& options, const std::vector<std::string>& data_classes,
                             const std::string& default_size) {
  ViTConfig stored;  // the weights' own sizes and classes
  if (options.weights.empty()) {
    config_ = config_from_options(options, default_size);
  } else {
    files_ = std::make_unique<WeightFiles>(options.weights);
    stored = weights_config(options);
    config_ = config_from_weights(options, stored);
    read_processor(stored.image_size);
  }
  config_.labels = resolve_labels(options.num_labels, data_classes, stored.labels);
  check_config(config_, "model", ESP_E_INVALID);
  parameters_ = std::make_unique<ViTParameters>(config_);
  if (files_ == nullptr) return;
  checkpoint_ = std::make_unique<Checkpoint>(*files_, stored, config_, *parameters_);
  notes_.insert(notes_.end(), checkpoint_->notes().begin(), checkpoint_->notes().end());
  if (checkpoint_->has(parameters_->head().classifier.weight)) note_other_classes(data_classes, stored.labels);
}

ViTConfig ViTDefinition::weights_config(const ViTOptions& options) const {
  if (files_->config_path().empty()) return config_from_shapes(*files_, options.num_attention_heads);
  return config_from_json(read_object(files_->config_path()), files_->config_path());
}

void ViTDefinition::read_processor(int64_t stored_image_size) {
  if (files_->processor_path().empty()) return;
  scaling_ = scaling_from_json(read_object(files_->processor_path()), files_->processor_path());
  if (scaling_.side != 0 && scaling_.side != stored_image_size && scaling_.side != config_.image_size) {
    notes_.push_back("preprocessor_config.json says images of " + std::to_string(scaling_.side) + " px, config.json " +
                     std::to_string(stored_image_size) + "; images are resized to " +
                     std::to_string(config_.image_size));
  }
}

// Heads know classes by number: other names, or another order, mean that its answers are not what they seem.
void ViTDefinition::note_other_classes(const std::vector<std::string>& data, const std::vector<std::string>& weights) {
  const bool named = !weights.empty() && weights != placeholder_labels(static_cast<int64_t>(weights.size()));
  if (data.empty() || !named || data == weights) return;
  const auto at = std::mismatch(data.begin(), data.end(), weights.begin(), weights.end());
  if (at.first == data.end() || at.second == weights.end()) return;
  notes_.push_back("class " + std::to_string(at.first - data.begin()) + " is " + shown(*at.first) +
                   " in the data and " + shown(*at.second) + " in the weights; the classifier is kept as it is");
}

std::string ViTDefinition::name() const {
  std::string size;
  for (const char* known : {"tiny", "small", "base", "large"}) {
    const ViTConfig named = config_of_size(known);
    if (named.hidden_size == config_.hidden_size && named.num_hidden_layers == config_.num_hidden_layers &&
        named.num_attention_heads == config_.num_attention_heads &&
        named.intermediate_size == config_.intermediate_size) {
      size = std::string("-") + known;
    }
  }
  return "vit" + size + " " + std::to_string(config_.hidden_size) + "x" + std::to_string(config_.num_hidden_layers) +
         ", patch " + std::to_string(config_.patch_size) + ", " + std::to_string(config_.image_size) + " px";
}

void ViTDefinition::init_range(uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out) const {
  if (param >= parameters_->all().size() || lo > hi || hi > parameters_->all()[param].numel()) {
    fail(ESP_E_INVALID, "elements [", lo, ", ", hi, ") of parameter ", param, " do not exist");
  }
  if (checkpoint_ != nullptr && checkpoint_->has(param)) {
    checkpoint_->read(param, lo, hi, out);
    return;
  }
  const ViTParameter& parameter = parameters_->all()[param];
  if (parameter.start == Start::kNormal) {
    fill_normal(parameter.name, seed, config_.initializer_range, lo, hi, out);
  } else {
    std::fill(out, out + (hi - lo), parameter.start == Start::kOnes ? 1.0f : 0.0f);
  }
}

}  // namespace esp::vit
