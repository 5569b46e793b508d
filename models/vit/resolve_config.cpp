#include "resolve_config.hpp"

#include <espalier/failure.hpp>
#include <sstream>

namespace esp::vit {
namespace {

constexpr int64_t kHeadWidth = 64;
constexpr int64_t kMlpRatio = 4;

// Heads for a width that no size has: one for each 64, else as many as the named size has.
int64_t heads_for(int64_t hidden, int64_t heads_of_size) {
  if (hidden % kHeadWidth == 0) return hidden / kHeadWidth;
  if (hidden % heads_of_size == 0) return heads_of_size;
  fail(ESP_E_INVALID, "model: set num_attention_heads: a hidden_size of ", hidden, " does not tell it");
}

template <class T>
std::string text_of(T number) {
  std::ostringstream text;
  text << number;
  return text.str();
}

template <class T>
void must_agree(const char* key, T asked, T found) {
  if (asked == T{0} || asked == found) return;
  fail(ESP_E_INVALID, "model.", key, " is ", text_of(asked), ", the weights have ", text_of(found),
       "; leave the key out, or the weights");
}

}  // namespace

ViTConfig config_from_options(const ViTOptions& options, const std::string& default_size) {
  ViTConfig config = config_of_size(options.size == "auto" ? default_size : options.size);
  if (options.hidden_size != 0 && options.hidden_size != config.hidden_size) {
    config.hidden_size = options.hidden_size;
    config.intermediate_size = kMlpRatio * config.hidden_size;
    if (options.num_attention_heads == 0) {
      config.num_attention_heads = heads_for(config.hidden_size, config.num_attention_heads);
    }
  }
  const auto take = [](int64_t asked, int64_t& into) {
    if (asked != 0) into = asked;
  };
  take(options.num_hidden_layers, config.num_hidden_layers);
  take(options.num_attention_heads, config.num_attention_heads);
  take(options.intermediate_size, config.intermediate_size);
  take(options.image_size, config.image_size);
  take(options.patch_size, config.patch_size);
  if (options.layer_norm_eps != 0) config.layer_norm_eps = options.layer_norm_eps;
  return config;
}

ViTConfig config_from_weights(const ViTOptions& options, const ViTConfig& weights) {
  ViTConfig config = weights;
  if (options.size != "auto") {
    const ViTConfig named = config_of_size(options.size);
    const std::string key = "size = \"" + options.size + "\", whose ";
    must_agree((key + "hidden_size").c_str(), named.hidden_size, weights.hidden_size);
    must_agree((key + "num_hidden_layers").c_str(), named.num_hidden_layers, weights.num_hidden_layers);
    must_agree((key + "num_attention_heads").c_str(), named.num_attention_heads, weights.num_attention_heads);
    must_agree((key + "intermediate_size").c_str(), named.intermediate_size, weights.intermediate_size);
  }
  must_agree("hidden_size", options.hidden_size, weights.hidden_size);
  must_agree("num_hidden_layers", options.num_hidden_layers, weights.num_hidden_layers);
  must_agree("num_attention_heads", options.num_attention_heads, weights.num_attention_heads);
  must_agree("intermediate_size", options.intermediate_size, weights.intermediate_size);
  must_agree("patch_size", options.patch_size, weights.patch_size);
  must_agree("layer_norm_eps", options.layer_norm_eps, weights.layer_norm_eps);
  if (options.image_size != 0) config.image_size = options.image_size;
  return config;
}

std::vector<std::string> resolve_labels(int64_t num_labels, const std::vector<std::string>& data,
                                        const std::vector<std::string>& weights) {
  if (num_labels == 0 && data.empty() && weights.empty()) {
    fail(ESP_E_INVALID, "model.num_labels: neither data nor weights tell the number of classes; set it");
  }
  const auto n = static_cast<size_t>(num_labels);
  if (n != 0 && n < data.size()) {
    fail(ESP_E_INVALID, "model.num_labels is ", num_labels, ", the data has ", data.size(), " classes");
  }
  if (!data.empty() && (n == 0 || n == data.size())) return data;
  if (!weights.empty() && data.empty() && (n == 0 || n == weights.size())) return weights;
  std::vector<std::string> labels = placeholder_labels(num_labels);
  for (size_t i = 0; i < data.size(); ++i) labels[i] = data[i];
  return labels;
}

}  // namespace esp::vit
