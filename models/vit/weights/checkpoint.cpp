#include "checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <espalier/failure.hpp>
#include <set>

#include "../position_grid.hpp"

namespace esp::vit {
namespace {

constexpr char kPrefix[] = "vit.";
constexpr size_t kNamed = 3;  // how many names an error lists

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (const uint64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

std::vector<uint64_t> unsigned_shape(const std::vector<int64_t>& shape) { return {shape.begin(), shape.end()}; }

// "a, b, c and 4 more".
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamed); ++i) text += (i ? ", " : "") + shown(names[i]);
  return names.size() > kNamed ? text + " and " + std::to_string(names.size() - kNamed) + " more" : text;
}

bool has_prefix(const WeightFiles& files) {
  const auto at = files.tensors().lower_bound(kPrefix);
  return at != files.tensors().end() && at->first.rfind(kPrefix, 0) == 0;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// What transformers' own classifier leaves out of a base model, too.
bool is_left_out(const std::string& name) {
  return ends_with(name, "pooler.dense.weight") || ends_with(name, "pooler.dense.bias") ||
         ends_with(name, "embeddings.mask_token");
}

// -1 where n is no square, or too large to be one of patches.
int64_t square_root(uint64_t n) {
  if (n > uint64_t{1} << 40) return -1;
  const auto root = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(n))));
  return static_cast<uint64_t>(root * root) == n ? root : -1;
}

}  // namespace

Checkpoint::Checkpoint(const WeightFiles& files, const ViTConfig& stored, const ViTConfig& config,
                       const ViTParameters& parameters)
    : sources_(parameters.all().size()), position_(parameters.embedding().position) {
  match(files, parameters);
  check_dtypes(files);
  drop_other_head(config, parameters);
  resize_positions(files, stored, config);
  check_shapes(files, parameters);
}

void Checkpoint::match(const WeightFiles& files, const ViTParameters& parameters) {
  const bool prefixed = has_prefix(files);
  const HeadIds& head = parameters.head();
  std::set<std::string> used;
  std::vector<std::string> missing;
  for (uint32_t id = 0; id < sources_.size(); ++id) {
    const std::string& name = parameters.all()[id].name;
    const std::string key = prefixed || name.rfind(kPrefix, 0) != 0 ? name : name.substr(std::strlen(kPrefix));
    const auto at = files.tensors().find(key);
    if (at != files.tensors().end()) {
      sources_[id] = at->second;
      used.insert(key);
    } else if (id != head.classifier.weight && id != head.classifier.bias) {
      missing.push_back(key);
    }
  }
  std::vector<std::string> extra;
  for (const auto& [name, tensor] : files.tensors()) {
    if (used.count(name) == 0 && !is_left_out(name)) extra.push_back(name);
  }
  if (!missing.empty()) {
    fail(ESP_E_DATA, shown(files.origin()), ": lacks ", missing.size(), " of the model's tensors: ", listed(missing),
         extra.empty() ? "" : "; it has instead: " + listed(extra));
  }
  if (!extra.empty()) {
    fail(ESP_E_DATA, shown(files.origin()), ": holds ", extra.size(),
         " tensors that the model has no place for: ", listed(extra));
  }
}

void Checkpoint::check_dtypes(const WeightFiles& files) const {
  for (const StoredTensor& source : sources_) {
    if (source.entry == nullptr) continue;
    const std::string& dtype = source.entry->dtype;
    if (dtype != "F32" && dtype != "F16" && dtype != "BF16") {
      fail(ESP_E_DATA, shown(files.origin()), ": ", shown(source.entry->name), " is ", dtype,
           "; F32, F16 and BF16 are read");
    }
  }
}

void Checkpoint::drop_other_head(const ViTConfig& config, const ViTParameters& parameters) {
  StoredTensor& weight = sources_[parameters.head().classifier.weight];
  StoredTensor& bias = sources_[parameters.head().classifier.bias];
  const std::string fresh = "the classifier starts from scratch: ";
  const std::string classes = std::to_string(config.num_labels());
  if (weight.entry == nullptr || bias.entry == nullptr) {
    notes_.push_back(fresh + "the weights have none");
  } else if (weight.entry->shape.size() == 2 && weight.entry->shape[0] != static_cast<uint64_t>(config.num_labels()) &&
             weight.entry->shape[1] == static_cast<uint64_t>(config.hidden_size)) {
    notes_.push_back(fresh + "that of the weights knows " + std::to_string(weight.entry->shape[0]) + " classes, " +
                     classes + " are wanted");
  } else {
    return;
  }
  weight = bias = StoredTensor();
}

void Checkpoint::resize_positions(const WeightFiles& files, const ViTConfig& stored, const ViTConfig& config) {
  if (stored.grid() == config.grid()) return;
  const TensorEntry& entry = *sources_[position_].entry;
  const auto hidden = static_cast<uint64_t>(config.hidden_size);
  const std::vector<uint64_t> wanted = {1, static_cast<uint64_t>(stored.tokens()), hidden};
  if (entry.shape != wanted) {
    fail(ESP_E_DATA, shown(files.origin()), ": ", shown(entry.name), " is ", shape_text(entry.shape), ", should be ",
         shape_text(wanted));
  }
  std::vector<float> values(entry.numel);
  sources_[position_].file->read_floats(entry, 0, values.size(), values.data());
  resized_positions_.assign(values.begin(), values.begin() + config.hidden_size);  // the class token's stays
  const auto grid = resize_grid(values.data() + hidden, stored.grid(), config.grid(), config.hidden_size);
  resized_positions_.insert(resized_positions_.end(), grid.begin(), grid.end());
  const auto square = [](int64_t side) { return std::to_string(side) + " x " + std::to_string(side); };
  notes_.push_back("position embeddings are resized (bicubic) from " + square(stored.grid()) + " to " +
                   square(config.grid()) + " patches");
}

void Checkpoint::check_shapes(const WeightFiles& files, const ViTParameters& parameters) {
  std::vector<std::string> wrong;
  for (uint32_t id = 0; id < sources_.size(); ++id) {
    if (sources_[id].entry == nullptr || (id == position_ && !resized_positions_.empty())) continue;
    const std::vector<uint64_t> wanted = unsigned_shape(parameters.all()[id].shape);
    const std::vector<uint64_t>& found = sources_[id].entry->shape;
    if (found != wanted) {
      wrong.push_back(sources_[id].entry->name + " is " + shape_text(found) + ", should be " + shape_text(wanted));
    }
  }
  if (!wrong.empty()) {
    fail(ESP_E_DATA, shown(files.origin()), ": ", wrong.size(),
         " tensors do not have the model's shape: ", listed(wrong));
  }
}

void Checkpoint::read(uint32_t param, uint64_t lo, uint64_t hi, float* out) const {
  if (param == position_ && !resized_positions_.empty()) {
    std::copy(resized_positions_.begin() + static_cast<std::ptrdiff_t>(lo),
              resized_positions_.begin() + static_cast<std::ptrdiff_t>(hi), out);
    return;
  }
  sources_[param].file->read_floats(*sources_[param].entry, lo, hi, out);
}

ViTConfig config_from_shapes(const WeightFiles& files, int64_t heads) {
  const std::string prefix = has_prefix(files) ? kPrefix : "";
  const auto shape_of = [&](const std::string& name, size_t dims) -> const std::vector<uint64_t>& {
    const auto at = files.tensors().find(name);
    if (at == files.tensors().end() || at->second.entry->shape.size() != dims) {
      fail(ESP_E_DATA, shown(files.origin()), ": has no tensor ", name, " of ", dims,
           " dimensions; it is no ViT of transformers");
    }
    return at->second.entry->shape;
  };
  const auto number = [](uint64_t extent) { return static_cast<int64_t>(std::min<uint64_t>(extent, INT32_MAX)); };
  const auto layer = [&](int64_t i) { return prefix + "encoder.layer." + std::to_string(i) + "."; };

  ViTConfig config;
  const auto& patches = shape_of(prefix + "embeddings.patch_embeddings.projection.weight", 4);
  config.hidden_size = number(patches[0]);
  config.patch_size = number(patches[2]);
  const auto& positions = shape_of(prefix + "embeddings.position_embeddings", 3);
  const int64_t side = positions[1] > 1 ? square_root(positions[1] - 1) : -1;
  if (side < 0) fail(ESP_E_DATA, shown(files.origin()), ": its position embeddings are no square of patches");
  config.image_size = number(static_cast<uint64_t>(side)) * config.patch_size;
  config.num_hidden_layers = 0;
  while (files.tensors().count(layer(config.num_hidden_layers) + "layernorm_before.weight")) ++config.num_hidden_layers;
  config.intermediate_size = number(shape_of(layer(0) + "intermediate.dense.weight", 2)[0]);
  config.qkv_bias = files.tensors().count(layer(0) + "attention.attention.query.bias") != 0;
  config.num_attention_heads = heads != 0 ? heads : config.hidden_size / 64;
  if (config.num_attention_heads < 1 || config.hidden_size % config.num_attention_heads != 0) {
    fail(ESP_E_DATA, shown(files.origin()),
         ": has no config.json beside it, and the number of heads cannot be seen from a width of ", config.hidden_size,
         "; set num_attention_heads");
  }
  const bool headed = files.tensors().count("classifier.weight") != 0;
  config.labels = placeholder_labels(headed ? number(shape_of("classifier.weight", 2)[0]) : 2);
  check_config(config, files.origin(), ESP_E_DATA);
  return config;
}

}  // namespace esp::vit
