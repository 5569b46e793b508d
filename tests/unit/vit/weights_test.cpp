#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "hf_folder.hpp"
#include "io/safetensors_writer.hpp"
#include "io/strict_json.hpp"
#include "scratch.hpp"
#include "vit_definition.hpp"
#include "weights/hub_cache.hpp"

namespace esp::vit::test {
namespace {

namespace fs = std::filesystem;
using Labels = std::vector<std::string>;

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

const Labels kBeans = {"angular_leaf_spot", "bean_rust", "healthy"};

ViTOptions options_of(const std::string& weights) {
  ViTOptions options;
  options.weights = weights;
  return options;
}

std::vector<float> values_of(const ViTDefinition& definition, uint32_t param) {
  std::vector<float> values(definition.parameters().all()[param].numel());
  definition.init_range(param, 1, 0, values.size(), values.data());
  return values;
}

std::vector<std::vector<float>> all_values(const ViTDefinition& definition) {
  std::vector<std::vector<float>> all;
  for (uint32_t i = 0; i < definition.parameters().all().size(); ++i) all.push_back(values_of(definition, i));
  return all;
}

void save(const ViTDefinition& definition, const std::string& folder, esp_dtype dtype) {
  const auto values = all_values(definition);
  std::vector<const float*> pointers;
  for (const auto& v : values) pointers.push_back(v.data());
  fs::create_directories(folder);
  write_hf_folder(folder, definition.config(), definition.parameters(), definition.scaling(), pointers.data(), dtype);
}

// Writes the golden tensors again under other names; a name that becomes empty is left out.
void rewrite(const std::string& path, const std::function<std::string(const std::string&)>& rename) {
  const SafetensorsFile file(golden_path("tiny/model.safetensors"));
  std::vector<std::vector<float>> kept;
  std::vector<TensorToWrite> tensors;
  kept.reserve(file.header().tensors.size());
  for (const TensorEntry& entry : file.header().tensors) {
    const std::string name = rename(entry.name);
    if (name.empty()) continue;
    kept.emplace_back(entry.numel);
    file.read_floats(entry, 0, entry.numel, kept.back().data());
    tensors.push_back({name, {entry.shape.begin(), entry.shape.end()}, kept.back().data()});
  }
  write_safetensors(path, tensors, ESP_F32);
}

void edit_config(const std::string& folder, const std::function<void(nlohmann::json&)>& edit) {
  nlohmann::json json = read_object(folder + "/config.json");
  edit(json);
  write_file(folder + "/config.json", json.dump());
}

class Weights : public testing::Test {
 protected:
  Weights() { copy_golden(folder_); }

  std::string failure(const ViTOptions& options) const {
    return failure_of([&] { ViTDefinition(options, kBeans, "tiny"); });
  }
  std::string failure() const { return failure(options_of(folder_)); }

  ScratchFolder scratch_;
  const std::string folder_ = scratch_ / "tiny";
};

TEST_F(Weights, AFolderTellsSizesClassesAndScaling) {
  const ViTDefinition definition(options_of(folder_), {}, "base");
  EXPECT_EQ(definition.config().hidden_size, 32);
  EXPECT_EQ(definition.config().layer_norm_eps, 1e-6);
  EXPECT_EQ(definition.config().labels, kBeans);
  EXPECT_EQ(definition.scaling().mean[2], 0.3);
  EXPECT_TRUE(definition.notes().empty());
}

TEST_F(Weights, SurviveSavingAndReadingBitForBit) {
  const ViTDefinition first(options_of(folder_), kBeans, "tiny");
  save(first, scratch_ / "again", ESP_F32);
  const ViTDefinition second(options_of(scratch_ / "again"), {}, "tiny");
  EXPECT_EQ(second.config().labels, kBeans);
  EXPECT_EQ(second.scaling().std, first.scaling().std);
  EXPECT_EQ(all_values(second), all_values(first));
}

TEST_F(Weights, HalfPrecisionFilesAreReadAsTheyWereWritten) {
  const ViTDefinition first(options_of(folder_), kBeans, "tiny");
  for (const esp_dtype dtype : {ESP_BF16, ESP_F16}) {
    const std::string once = scratch_ / ("once" + file_dtype(dtype));
    const std::string twice = scratch_ / ("twice" + file_dtype(dtype));
    save(first, once, dtype);
    const ViTDefinition second(options_of(once), kBeans, "tiny");
    save(second, twice, dtype);
    EXPECT_EQ(read_file(once + "/model.safetensors"), read_file(twice + "/model.safetensors"));
    EXPECT_EQ(read_object(once + "/config.json").at("torch_dtype"), dtype == ESP_F16 ? "float16" : "bfloat16");
  }
}

TEST_F(Weights, PartsAreThePartsOfTheWhole) {
  ViTOptions options = options_of(folder_);
  options.image_size = 64;  // a computed parameter among those that are read
  const ViTDefinition definition(options, kBeans, "tiny");
  for (uint32_t i = 0; i < definition.parameters().all().size(); ++i) {
    const std::vector<float> whole = values_of(definition, i);
    std::vector<float> part(whole.size());
    const uint64_t cut = whole.size() / 3;
    definition.init_range(i, 9, cut, whole.size(), part.data() + cut);
    definition.init_range(i, 9, 0, cut, part.data());
    EXPECT_EQ(part, whole) << definition.parameters().all()[i].name;
  }
}

TEST_F(Weights, AHeadOfAnotherSizeStartsFromScratchWithANote) {
  const ViTDefinition definition(options_of(folder_), {"a", "b"}, "tiny");
  ASSERT_EQ(definition.notes().size(), 1u);
  EXPECT_TRUE(mentions(definition.notes()[0], "knows 3 classes, 2 are wanted")) << definition.notes()[0];
  const HeadIds& head = definition.parameters().head();
  EXPECT_EQ(values_of(definition, head.classifier.bias), (std::vector<float>{0, 0}));
  EXPECT_LT(std::abs(values_of(definition, head.classifier.weight)[0]), 0.12f);
}

TEST_F(Weights, OtherClassNamesAreNoted) {
  const ViTDefinition definition(options_of(folder_), {"healthy", "bean_rust", "angular_leaf_spot"}, "tiny");
  ASSERT_EQ(definition.notes().size(), 1u);
  EXPECT_TRUE(mentions(definition.notes()[0], "class 0 is healthy in the data")) << definition.notes()[0];
}

TEST_F(Weights, AnotherResolutionResizesPositionsWithANote) {
  ViTOptions options = options_of(folder_);
  options.image_size = 48;
  const ViTDefinition definition(options, kBeans, "tiny");
  ASSERT_EQ(definition.notes().size(), 1u);
  EXPECT_TRUE(mentions(definition.notes()[0], "from 4 x 4 to 6 x 6")) << definition.notes()[0];
  const ViTDefinition plain(options_of(folder_), kBeans, "tiny");
  const uint32_t position = plain.parameters().embedding().position;
  const auto before = values_of(plain, position), after = values_of(definition, position);
  EXPECT_EQ(after.size(), 37u * 32u);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 32, after.begin()));  // the class token's
}

TEST_F(Weights, ABaseModelLosesItsPoolerAndGetsAHead) {
  rewrite(folder_ + "/model.safetensors", [](const std::string& name) {
    if (name == "classifier.weight") return std::string("pooler.dense.weight");
    if (name == "classifier.bias") return std::string("pooler.dense.bias");
    return name.substr(4);
  });
  const ViTDefinition definition(options_of(folder_), kBeans, "tiny");
  ASSERT_EQ(definition.notes().size(), 1u);
  EXPECT_TRUE(mentions(definition.notes()[0], "the weights have none"));
  const ViTDefinition original(options_of(golden_path("tiny")), kBeans, "tiny");
  EXPECT_EQ(values_of(definition, 7), values_of(original, 7));
}

TEST_F(Weights, AFileAloneTellsItsSizesByShapes) {
  fs::remove(folder_ + "/config.json");
  ViTOptions options = options_of(folder_ + "/model.safetensors");
  EXPECT_TRUE(mentions(failure(options), "set num_attention_heads"));
  options.num_attention_heads = 4;
  const ViTDefinition definition(options, kBeans, "tiny");
  EXPECT_EQ(definition.config().num_hidden_layers, 2);
  EXPECT_EQ(definition.config().intermediate_size, 48);
  EXPECT_EQ(definition.config().image_size, 32);
  EXPECT_EQ(definition.config().patch_size, 8);
  EXPECT_EQ(definition.config().layer_norm_eps, 1e-12);
  EXPECT_TRUE(definition.config().qkv_bias);
}

TEST_F(Weights, ShardsAreReadByTheirIndex) {
  const auto in_first = [](const std::string& name) { return mentions(name, "layer.0"); };
  rewrite(folder_ + "/model-00001-of-00002.safetensors", [&](const std::string& n) { return in_first(n) ? n : ""; });
  rewrite(folder_ + "/model-00002-of-00002.safetensors", [&](const std::string& n) { return in_first(n) ? "" : n; });
  nlohmann::json index;
  const SafetensorsFile whole(folder_ + "/model.safetensors");
  for (const TensorEntry& entry : whole.header().tensors) {
    index["weight_map"][entry.name] =
        in_first(entry.name) ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  }
  fs::remove(folder_ + "/model.safetensors");
  write_file(folder_ + "/model.safetensors.index.json", index.dump());
  const ViTDefinition definition(options_of(folder_), kBeans, "tiny");
  EXPECT_EQ(all_values(definition), all_values(ViTDefinition(options_of(golden_path("tiny")), kBeans, "tiny")));

  index["weight_map"]["classifier.bias"] = "../../etc/passwd";
  write_file(folder_ + "/model.safetensors.index.json", index.dump());
  EXPECT_TRUE(mentions(failure(), "which is no file name")) << failure();
  index["weight_map"]["classifier.bias"] = "model-00001-of-00002.safetensors";
  write_file(folder_ + "/model.safetensors.index.json", index.dump());
  EXPECT_TRUE(mentions(failure(), "lacks classifier.bias")) << failure();
}

TEST_F(Weights, MissingAndSurplusTensorsAreNamed) {
  rewrite(folder_ + "/model.safetensors", [](const std::string& n) { return mentions(n, "query") ? "" : n; });
  EXPECT_TRUE(mentions(failure(), "lacks 4 of the model's tensors: vit.encoder.layer.0.attention.attention.query"))
      << failure();
  EXPECT_TRUE(mentions(failure(), "and 1 more"));
  edit_config(folder_, [](nlohmann::json& json) { json["num_hidden_layers"] = 1; });
  rewrite(folder_ + "/model.safetensors", [](const std::string& n) { return n; });
  EXPECT_TRUE(mentions(failure(), "holds 16 tensors that the model has no place for: vit.encoder.layer.1"))
      << failure();
}

TEST_F(Weights, OtherShapesAreNamed) {
  edit_config(folder_, [](nlohmann::json& json) { json["intermediate_size"] = 64; });
  EXPECT_TRUE(mentions(failure(), "intermediate.dense.weight is [48, 32], should be [64, 32]")) << failure();
}

TEST_F(Weights, PositionsThatBelieTheirConfigAreRefused) {
  edit_config(folder_, [](nlohmann::json& json) { json["image_size"] = 64; });
  EXPECT_TRUE(mentions(failure(), "position_embeddings is [1, 17, 32], should be [1, 65, 32]")) << failure();
  ViTOptions options = options_of(folder_);
  options.image_size = 32;
  EXPECT_TRUE(mentions(failure(options), "position_embeddings is [1, 17, 32], should be [1, 65, 32]"));
}

TEST_F(Weights, AProcessorOfAnotherSizeIsNoted) {
  nlohmann::json json = read_object(folder_ + "/preprocessor_config.json");
  json["size"] = 64;
  write_file(folder_ + "/preprocessor_config.json", json.dump());
  const ViTDefinition definition(options_of(folder_), kBeans, "tiny");
  ASSERT_EQ(definition.notes().size(), 1u);
  EXPECT_TRUE(mentions(definition.notes()[0], "64 px, config.json 32; images are resized to 32"));
}

TEST_F(Weights, UnreadDtypesAreNamed) {
  std::string bytes = read_file(folder_ + "/model.safetensors");
  for (size_t at = 0; (at = bytes.find("\"F32\"", at)) != std::string::npos;) bytes.replace(at, 5, "\"I32\"");
  write_file(folder_ + "/model.safetensors", bytes);
  EXPECT_TRUE(mentions(failure(), "is I32; F32, F16 and BF16 are read")) << failure();
}

TEST_F(Weights, PicklesAreRefusedWithAdvice) {
  fs::rename(folder_ + "/model.safetensors", folder_ + "/pytorch_model.bin");
  EXPECT_TRUE(mentions(failure(), "convert it to model.safetensors")) << failure();
  EXPECT_TRUE(mentions(failure(options_of(folder_ + "/pytorch_model.bin")), "pickle"));
}

TEST_F(Weights, MissingFilesAreNamed) {
  EXPECT_TRUE(mentions(failure(options_of("/no/such/folder")), "there is no file or folder /no/such/folder"));
  fs::remove(folder_ + "/model.safetensors");
  EXPECT_TRUE(mentions(failure(), "holds neither model.safetensors nor"));
  fs::remove(folder_ + "/config.json");
  EXPECT_TRUE(mentions(failure(), "holds no config.json"));
}

TEST_F(Weights, AHubIdIsLookedUpInTheLocalCacheOnly) {
  const std::string cache = scratch_ / "hub";
  const std::string snapshot = cache + "/models--acme--vit-tiny/snapshots/0123abcd";
  fs::create_directories(cache + "/models--acme--vit-tiny/refs");
  fs::create_directories(snapshot);
  fs::copy(golden_path("tiny"), snapshot, fs::copy_options::recursive);
  write_file(cache + "/models--acme--vit-tiny/refs/main", "0123abcd\n");
  ASSERT_EQ(::setenv("HF_HUB_CACHE", cache.c_str(), 1), 0);
  EXPECT_EQ(find_in_hub_cache("acme/vit-tiny"), snapshot);
  EXPECT_EQ(find_in_hub_cache("acme/vit-tiny@0123abcd"), snapshot);
  EXPECT_EQ(ViTDefinition(options_of("acme/vit-tiny"), kBeans, "base").config().hidden_size, 32);
  const std::string text = failure(options_of("acme/vit-other"));
  EXPECT_TRUE(mentions(text, cache) && mentions(text, "hf download acme/vit-other")) << text;
  write_file(cache + "/models--acme--vit-tiny/refs/main", "../../..");
  EXPECT_EQ(find_in_hub_cache("acme/vit-tiny"), "");
  ::unsetenv("HF_HUB_CACHE");
}

TEST(HubId, HasOneOrTwoPlainParts) {
  EXPECT_TRUE(is_hub_id("google/vit-base-patch16-224"));
  EXPECT_TRUE(is_hub_id("vit"));
  EXPECT_TRUE(is_hub_id("a/b@main"));
  for (const char* text : {"", "/a", "a/", "a/b/c", "../a", "a b", "a/.b", "a@", "./a"})
    EXPECT_FALSE(is_hub_id(text)) << text;
}

}  // namespace
}  // namespace esp::vit::test
