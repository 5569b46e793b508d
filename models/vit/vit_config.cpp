#include "vit_config.hpp"

#include <cmath>
#include <espalier/failure.hpp>
#include <nlohmann/json.hpp>

#include "io/files.hpp"

namespace esp::vit {
namespace {

using Json = nlohmann::json;

struct Bounds {
  const char* key;
  int64_t ViTConfig::*member;
  int64_t high;
};

// Beyond anything that exists, and small enough that products of sizes stay far from overflow.
constexpr Bounds kBounds[] = {
    {"hidden_size", &ViTConfig::hidden_size, 65536},
    {"num_hidden_layers", &ViTConfig::num_hidden_layers, 1024},
    {"num_attention_heads", &ViTConfig::num_attention_heads, 65536},
    {"intermediate_size", &ViTConfig::intermediate_size, 1 << 20},
    {"image_size", &ViTConfig::image_size, 8192},
    {"patch_size", &ViTConfig::patch_size, 1024},
};
constexpr int64_t kMaxLabels = 1'000'000;

// Reads keys of one file and says what is wrong with them.
class Reader {
 public:
  Reader(const Json& json, const std::string& origin) : json_(json), origin_(shown(origin)) {}

  int64_t whole(const char* key, int64_t absent) const {
    if (!has(key)) return absent;
    const Json& value = json_.at(key);
    if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX)) {
      refuse(key, "is not a whole number");
    }
    return value.get<int64_t>();
  }

  double number(const char* key, double absent) const {
    if (!has(key)) return absent;
    if (!json_.at(key).is_number()) refuse(key, "is not a number");
    return json_.at(key).get<double>();
  }

  bool truth(const char* key, bool absent) const {
    if (!has(key)) return absent;
    if (!json_.at(key).is_boolean()) refuse(key, "is not true or false");
    return json_.at(key).get<bool>();
  }

  std::string text(const char* key, const char* absent) const {
    if (!has(key)) return absent;
    if (!json_.at(key).is_string()) refuse(key, "is not a text");
    return json_.at(key).get<std::string>();
  }

  // Heights and widths may be given as one number or as two equal ones.
  int64_t side(const char* key, int64_t absent) const {
    if (!has(key) || !json_.at(key).is_array()) return whole(key, absent);
    const Json& pair = json_.at(key);
    if (pair.size() != 2 || !pair[0].is_number_integer() || pair[0] != pair[1]) {
      refuse(key, "is not one number or two equal ones");
    }
    return pair[0].get<int64_t>();
  }

  void must_be(const char* key, const char* wanted) const {
    const std::string value = text(key, wanted);
    if (value != wanted) refuse(key, ("is \"" + shown(value) + "\"; this model computes \"" + wanted + "\"").c_str());
  }

  void must_be_zero(const char* key) const {
    const double value = number(key, 0);
    if (value != 0) refuse(key, ("is " + std::to_string(value) + "; this model has no dropout, set it to 0").c_str());
  }

  bool has(const char* key) const { return json_.contains(key) && !json_.at(key).is_null(); }
  const Json& at(const char* key) const { return json_.at(key); }

  [[noreturn]] void refuse(const char* key, const char* why) const { fail(ESP_E_DATA, origin_, ": ", key, " ", why); }

 private:
  const Json& json_;
  const std::string origin_;
};

std::vector<std::string> read_labels(const Reader& reader) {
  if (!reader.has("id2label")) {
    const int64_t n = reader.whole("num_labels", 2);
    if (n < 1 || n > kMaxLabels) reader.refuse("num_labels", "is out of range");
    return placeholder_labels(n);
  }
  const Json& map = reader.at("id2label");
  if (!map.is_object() || map.empty()) reader.refuse("id2label", "is not a map of class numbers to names");
  std::vector<std::string> labels(map.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto at = map.find(std::to_string(i));
    if (at == map.end() || !at->is_string()) reader.refuse("id2label", "does not name the classes 0, 1, 2, ...");
    labels[i] = at->get<std::string>();
  }
  return labels;
}

void refuse_what_is_not_computed(const Reader& reader) {
  reader.must_be("model_type", "vit");
  reader.must_be("hidden_act", "gelu");
  reader.must_be_zero("hidden_dropout_prob");
  reader.must_be_zero("attention_probs_dropout_prob");
  reader.must_be("problem_type", "single_label_classification");
  if (reader.whole("num_channels", 3) != 3) reader.refuse("num_channels", "is not 3; this model reads RGB images");
}

}  // namespace

ViTConfig config_of_size(const std::string& size) {
  ViTConfig config;
  const auto set = [&](int64_t hidden, int64_t layers, int64_t heads, int64_t intermediate) {
    config.hidden_size = hidden;
    config.num_hidden_layers = layers;
    config.num_attention_heads = heads;
    config.intermediate_size = intermediate;
  };
  if (size == "tiny") {
    set(192, 12, 3, 768);
  } else if (size == "small") {
    set(384, 12, 6, 1536);
  } else if (size == "base") {
    set(768, 12, 12, 3072);
  } else if (size == "large") {
    set(1024, 24, 16, 4096);
  } else {
    fail(ESP_E_INVALID, "size \"", shown(size), "\" is not one of tiny, small, base, large");
  }
  return config;
}

ViTConfig config_from_json(const Json& json, const std::string& origin) {
  const Reader reader(json, origin);
  refuse_what_is_not_computed(reader);
  ViTConfig config;
  config.hidden_size = reader.whole("hidden_size", config.hidden_size);
  config.num_hidden_layers = reader.whole("num_hidden_layers", config.num_hidden_layers);
  config.num_attention_heads = reader.whole("num_attention_heads", config.num_attention_heads);
  config.intermediate_size = reader.whole("intermediate_size", config.intermediate_size);
  config.image_size = reader.side("image_size", config.image_size);
  config.patch_size = reader.side("patch_size", config.patch_size);
  config.layer_norm_eps = reader.number("layer_norm_eps", config.layer_norm_eps);
  config.initializer_range = reader.number("initializer_range", config.initializer_range);
  config.qkv_bias = reader.truth("qkv_bias", config.qkv_bias);
  config.labels = read_labels(reader);
  check_config(config, origin, ESP_E_DATA);
  return config;
}

std::string config_to_json(const ViTConfig& config, const std::string& dtype) {
  nlohmann::ordered_json json;
  json["architectures"] = nlohmann::ordered_json::array({"ViTForImageClassification"});
  json["attention_probs_dropout_prob"] = 0.0;
  json["encoder_stride"] = config.patch_size;
  json["hidden_act"] = "gelu";
  json["hidden_dropout_prob"] = 0.0;
  json["hidden_size"] = config.hidden_size;
  json["id2label"] = nlohmann::ordered_json::object();
  json["image_size"] = config.image_size;
  json["initializer_range"] = config.initializer_range;
  json["intermediate_size"] = config.intermediate_size;
  json["label2id"] = nlohmann::ordered_json::object();
  json["layer_norm_eps"] = config.layer_norm_eps;
  json["model_type"] = "vit";
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_channels"] = 3;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["patch_size"] = config.patch_size;
  json["problem_type"] = "single_label_classification";
  json["qkv_bias"] = config.qkv_bias;
  json["torch_dtype"] = dtype;
  for (size_t i = 0; i < config.labels.size(); ++i) {
    json["id2label"][std::to_string(i)] = config.labels[i];
    json["label2id"][config.labels[i]] = i;
  }
  return json.dump(2) + "\n";
}

void check_config(const ViTConfig& config, const std::string& origin, esp_status status) {
  const std::string name = shown(origin);
  for (const Bounds& bounds : kBounds) {
    const int64_t value = config.*bounds.member;
    if (value < 1 || value > bounds.high) {
      fail(status, name, ": ", bounds.key, " is ", value, ", it must lie between 1 and ", bounds.high);
    }
  }
  if (config.num_labels() < 1 || config.num_labels() > kMaxLabels) {
    fail(status, name, ": num_labels is ", config.num_labels(), ", it must lie between 1 and ", kMaxLabels);
  }
  if (config.hidden_size % config.num_attention_heads != 0) {
    fail(status, name, ": num_attention_heads (", config.num_attention_heads, ") does not divide hidden_size (",
         config.hidden_size, ")");
  }
  if (config.image_size % config.patch_size != 0) {
    fail(status, name, ": patch_size (", config.patch_size, ") does not divide image_size (", config.image_size, ")");
  }
  if (!std::isfinite(config.layer_norm_eps) || config.layer_norm_eps < 0 || config.layer_norm_eps > 1) {
    fail(status, name, ": layer_norm_eps is ", config.layer_norm_eps, ", it must lie between 0 and 1");
  }
  if (!std::isfinite(config.initializer_range) || config.initializer_range < 0 || config.initializer_range > 1) {
    fail(status, name, ": initializer_range is ", config.initializer_range, ", it must lie between 0 and 1");
  }
}

std::vector<std::string> placeholder_labels(int64_t n) {
  std::vector<std::string> labels;
  for (int64_t i = 0; i < n; ++i) labels.push_back("LABEL_" + std::to_string(i));
  return labels;
}

}  // namespace esp::vit
