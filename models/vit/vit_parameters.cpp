#include "vit_parameters.hpp"

#include <utility>

namespace esp::vit {

uint64_t ViTParameter::numel() const {
  uint64_t numel = 1;
  for (const int64_t extent : shape) numel *= static_cast<uint64_t>(extent);
  return numel;
}

ViTParameters::ViTParameters(const ViTConfig& config) {
  const int64_t hidden = config.hidden_size;
  unit_begin_.push_back(0);
  embedding_.cls = add("vit.embeddings.cls_token", {1, 1, hidden}, Start::kNormal);
  embedding_.position = add("vit.embeddings.position_embeddings", {1, config.tokens(), hidden}, Start::kNormal);
  embedding_.projection =
      add_linear("vit.embeddings.patch_embeddings.projection", {hidden, 3, config.patch_size, config.patch_size});
  unit_begin_.push_back(static_cast<uint32_t>(all_.size()));
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    add_block(config, layer);
    unit_begin_.push_back(static_cast<uint32_t>(all_.size()));
  }
  head_.norm = add_norm("vit.layernorm", hidden);
  head_.classifier = add_linear("classifier", {config.num_labels(), hidden});
  unit_begin_.push_back(static_cast<uint32_t>(all_.size()));
}

void ViTParameters::add_block(const ViTConfig& config, int64_t layer) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const std::string at = "vit.encoder.layer." + std::to_string(layer) + ".";
  BlockIds ids;
  // Weights, then biases: a strategy that lays parameters out in this order makes one matrix of the three.
  const std::string names[] = {at + "attention.attention.query", at + "attention.attention.key",
                               at + "attention.attention.value"};
  Affine* const affines[] = {&ids.query, &ids.key, &ids.value};
  for (size_t i = 0; i < 3; ++i) affines[i]->weight = add(names[i] + ".weight", {hidden, hidden}, Start::kNormal);
  for (size_t i = 0; config.qkv_bias && i < 3; ++i) affines[i]->bias = add(names[i] + ".bias", {hidden}, Start::kZeros);
  ids.attention_out = add_linear(at + "attention.output.dense", {hidden, hidden});
  ids.mlp_in = add_linear(at + "intermediate.dense", {inner, hidden});
  ids.mlp_out = add_linear(at + "output.dense", {hidden, inner});
  ids.norm_before = add_norm(at + "layernorm_before", hidden);
  ids.norm_after = add_norm(at + "layernorm_after", hidden);
  blocks_.push_back(ids);
}

uint32_t ViTParameters::add(std::string name, std::vector<int64_t> shape, Start start) {
  all_.push_back({std::move(name), std::move(shape), start});
  return static_cast<uint32_t>(all_.size() - 1);
}

Affine ViTParameters::add_linear(const std::string& name, std::vector<int64_t> weight_shape, bool has_bias) {
  const int64_t outputs = weight_shape.front();
  Affine ids;
  ids.weight = add(name + ".weight", std::move(weight_shape), Start::kNormal);
  if (has_bias) ids.bias = add(name + ".bias", {outputs}, Start::kZeros);
  return ids;
}

Affine ViTParameters::add_norm(const std::string& name, int64_t size) {
  Affine ids;
  ids.weight = add(name + ".weight", {size}, Start::kOnes);
  ids.bias = add(name + ".bias", {size}, Start::kZeros);
  return ids;
}

std::pair<uint32_t, uint32_t> ViTParameters::of_unit(uint32_t unit) const {
  return {unit_begin_[unit], unit_begin_[unit + 1]};
}

std::string ViTParameters::unit_name(uint32_t unit) const {
  if (unit == 0) return "embedding";
  return unit + 1 == n_units() ? "head" : "block." + std::to_string(unit - 1);
}

}  // namespace esp::vit
