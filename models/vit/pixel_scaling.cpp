#include "pixel_scaling.hpp"

#include <cmath>
#include <espalier/failure.hpp>
#include <nlohmann/json.hpp>

#include "io/files.hpp"

namespace esp::vit {
namespace {

using Json = nlohmann::json;
constexpr int kBilinear = 2;  // Pillow's number

bool given(const Json& json, const char* key) { return json.contains(key) && !json.at(key).is_null(); }

bool truth(const Json& json, const char* key, bool absent, const std::string& origin) {
  if (!given(json, key)) return absent;
  if (!json.at(key).is_boolean()) fail(ESP_E_DATA, origin, ": ", key, " is not true or false");
  return json.at(key).get<bool>();
}

// Three numbers, or one for all three channels.
void read_channels(const Json& json, const char* key, std::array<double, 3>& out, const std::string& origin) {
  if (!given(json, key)) return;
  const Json& value = json.at(key);
  for (size_t i = 0; i < out.size(); ++i) {
    const bool listed = value.is_array() && value.size() == out.size();
    const Json& channel = listed ? value[i] : value;
    if (!channel.is_number() || !std::isfinite(channel.get<double>())) {
      fail(ESP_E_DATA, origin, ": ", key, " is not three numbers");
    }
    out[i] = channel.get<double>();
  }
}

void refuse_other_preparation(const Json& json, const std::string& origin) {
  if (truth(json, "do_center_crop", false, origin)) {
    fail(ESP_E_DATA, origin, ": do_center_crop is true; images are resized as a whole here, never cropped");
  }
  if (!truth(json, "do_resize", true, origin)) {
    fail(ESP_E_DATA, origin, ": do_resize is false; images are always resized to image_size here");
  }
  if (given(json, "resample") && json.at("resample") != kBilinear) {
    fail(ESP_E_DATA, origin, ": resample is ", shown(json.at("resample").dump()),
         "; images are resized bilinearly here (2)");
  }
}

// Older files have one number, newer ones height and width.
int64_t read_side(const Json& json, const std::string& origin) {
  if (!given(json, "size")) return 0;
  const Json& size = json.at("size");
  if (size.is_number_integer()) return size.get<int64_t>();
  if (!size.is_object() || !size.contains("height") || !size.contains("width") ||
      !size.at("height").is_number_integer() || size.at("height") != size.at("width")) {
    fail(ESP_E_DATA, origin, ": size is ", shown(size.dump()), "; images become squares here, aspect ignored");
  }
  return size.at("height").get<int64_t>();
}

}  // namespace

PixelScaling scaling_from_json(const Json& json, const std::string& path) {
  const std::string origin = shown(path);
  refuse_other_preparation(json, origin);
  PixelScaling scaling;
  scaling.side = read_side(json, origin);
  if (given(json, "rescale_factor")) {
    if (!json.at("rescale_factor").is_number()) fail(ESP_E_DATA, origin, ": rescale_factor is not a number");
    scaling.factor = json.at("rescale_factor").get<double>();
  }
  if (!truth(json, "do_rescale", true, origin)) scaling.factor = 1;
  read_channels(json, "image_mean", scaling.mean, origin);
  read_channels(json, "image_std", scaling.std, origin);
  if (!truth(json, "do_normalize", true, origin)) {
    scaling.mean = {0, 0, 0};
    scaling.std = {1, 1, 1};
  }
  for (const double std : scaling.std) {
    if (std <= 0) fail(ESP_E_DATA, origin, ": image_std has a number that is not above 0");
  }
  return scaling;
}

std::string scaling_to_json(const PixelScaling& scaling, int64_t image_size) {
  nlohmann::ordered_json json;
  json["do_normalize"] = true;
  json["do_rescale"] = true;
  json["do_resize"] = true;
  json["image_mean"] = scaling.mean;
  json["image_processor_type"] = "ViTImageProcessor";
  json["image_std"] = scaling.std;
  json["resample"] = kBilinear;
  json["rescale_factor"] = scaling.factor;
  json["size"] = {{"height", image_size}, {"width", image_size}};
  return json.dump(2) + "\n";
}

}  // namespace esp::vit
