#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "activation_plan.hpp"
#include "io/strict_json.hpp"
#include "pixel_scaling.hpp"
#include "resolve_config.hpp"
#include "scratch.hpp"
#include "vit_parameters.hpp"

namespace esp::vit::test {
namespace {

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string config_failure(const std::string& json) {
  return failure_of([&] { config_from_json(parse_object(json, "config.json"), "config.json"); });
}

uint64_t count(const ViTConfig& config) {
  const ViTParameters parameters(config);
  uint64_t n = 0;
  for (const ViTParameter& parameter : parameters.all()) n += parameter.numel();
  return n;
}

TEST(ViTConfig, BaseHasAsManyParametersAsTransformersHas) {
  ViTConfig config = config_of_size("base");
  config.labels = placeholder_labels(3);
  EXPECT_EQ(ViTParameters(config).all().size(), 200u);
  EXPECT_EQ(count(config), 85'800'963u);
  config.labels = placeholder_labels(1000);
  EXPECT_EQ(count(config), 86'567'656u);
}

TEST(ViTConfig, SurvivesTheWayThroughJson) {
  ViTConfig config = config_of_size("small");
  config.layer_norm_eps = 1e-6;
  config.qkv_bias = false;
  config.labels = {"a", "b \"quoted\"", "c"};
  const ViTConfig back = config_from_json(parse_object(config_to_json(config, "float32"), "x"), "x");
  EXPECT_EQ(back.hidden_size, 384);
  EXPECT_EQ(back.num_attention_heads, 6);
  EXPECT_EQ(back.layer_norm_eps, 1e-6);
  EXPECT_FALSE(back.qkv_bias);
  EXPECT_EQ(back.labels, config.labels);
}

TEST(ViTConfig, MissingKeysHaveTransformersDefaults) {
  const ViTConfig config = config_from_json(parse_object("{}", "x"), "x");
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.layer_norm_eps, 1e-12);
  EXPECT_EQ(config.num_labels(), 2);
}

TEST(ViTConfig, RefusesByKeyWhatItDoesNotCompute) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"model_type":"deit"})", "model_type is \"deit\""},
      {R"({"hidden_act":"gelu_new"})", "hidden_act is \"gelu_new\""},
      {R"({"hidden_dropout_prob":0.1})", "hidden_dropout_prob"},
      {R"({"attention_probs_dropout_prob":0.5})", "attention_probs_dropout_prob"},
      {R"({"num_channels":1})", "num_channels"},
      {R"({"problem_type":"regression"})", "problem_type"},
      {R"({"hidden_size":"768"})", "hidden_size is not a whole number"},
      {R"({"hidden_size":768.5})", "hidden_size is not a whole number"},
      {R"({"hidden_size":18446744073709551615})", "hidden_size is not a whole number"},
      {R"({"hidden_size":-768})", "hidden_size is -768, it must lie between 1"},
      {R"({"hidden_size":100000000})", "hidden_size is 100000000"},
      {R"({"num_attention_heads":7})", "num_attention_heads (7) does not divide hidden_size (768)"},
      {R"({"num_attention_heads":0})", "num_attention_heads is 0"},
      {R"({"patch_size":15})", "patch_size (15) does not divide image_size (224)"},
      {R"({"image_size":[224,192]})", "image_size is not one number or two equal ones"},
      {R"({"layer_norm_eps":-1})", "layer_norm_eps"},
      {R"({"id2label":{"0":"a","2":"b"}})", "id2label does not name the classes"},
      {R"({"id2label":[]})", "id2label"},
      {R"({"qkv_bias":1})", "qkv_bias is not true or false"},
      {R"({"hidden_size":1,"hidden_size":2})", "has the key \"hidden_size\" twice"},
      {R"([])", "is not a JSON object"},
      {R"({"hidden_size":)", "is not valid JSON"},
  };
  for (const auto& [json, part] : cases) {
    const std::string text = config_failure(json);
    EXPECT_TRUE(mentions(text, part)) << json << "\n  " << text;
    EXPECT_TRUE(mentions(text, "config.json")) << text;
  }
  EXPECT_TRUE(mentions(config_failure("{\"a\":" + std::string(100, '[')), "nested"));
}

TEST(ViTOptions, ExplicitSizesOverrideTheNamedOne) {
  ViTOptions options;
  options.size = "base";
  options.num_hidden_layers = 4;
  EXPECT_EQ(config_from_options(options, "tiny").num_hidden_layers, 4);
  EXPECT_EQ(config_from_options(options, "tiny").hidden_size, 768);
  options.hidden_size = 256;
  const ViTConfig wide = config_from_options(options, "tiny");
  EXPECT_EQ(wide.num_attention_heads, 4);
  EXPECT_EQ(wide.intermediate_size, 1024);
  options.num_attention_heads = 2;
  options.intermediate_size = 100;
  EXPECT_EQ(config_from_options(options, "tiny").num_attention_heads, 2);
  EXPECT_EQ(config_from_options(options, "tiny").intermediate_size, 100);
  options.size = "auto";
  EXPECT_EQ(config_from_options(options, "large").patch_size, 16);
}

TEST(ViTOptions, ContradictionsOfTheWeightsNameBothNumbers) {
  const ViTConfig weights = config_of_size("base");
  ViTOptions options;
  EXPECT_EQ(config_from_weights(options, weights).hidden_size, 768);
  options.size = "base";
  options.num_hidden_layers = 12;
  options.image_size = 384;
  EXPECT_EQ(config_from_weights(options, weights).image_size, 384);
  options.num_hidden_layers = 4;
  std::string text = failure_of([&] { config_from_weights(options, weights); });
  EXPECT_TRUE(mentions(text, "num_hidden_layers is 4, the weights have 12")) << text;
  options.num_hidden_layers = 0;
  options.size = "tiny";
  text = failure_of([&] { config_from_weights(options, weights); });
  EXPECT_TRUE(mentions(text, "192") && mentions(text, "768")) << text;
  options.size = "auto";
  options.layer_norm_eps = 1e-6;
  text = failure_of([&] { config_from_weights(options, weights); });
  EXPECT_TRUE(mentions(text, "1e-06") && mentions(text, "1e-12")) << text;
}

TEST(ViTOptions, ClassesComeFromTheDataThenFromTheWeights) {
  using Labels = std::vector<std::string>;
  EXPECT_EQ(resolve_labels(0, {"a", "b"}, {"x", "y", "z"}), (Labels{"a", "b"}));
  EXPECT_EQ(resolve_labels(0, {}, {"x", "y", "z"}), (Labels{"x", "y", "z"}));
  EXPECT_EQ(resolve_labels(3, {"a", "b"}, {}), (Labels{"a", "b", "LABEL_2"}));
  EXPECT_TRUE(mentions(failure_of([] { resolve_labels(1, {"a", "b"}, {}); }), "num_labels is 1, the data has 2"));
  EXPECT_TRUE(mentions(failure_of([] { resolve_labels(0, {}, {}); }), "set it"));
}

TEST(PixelScaling, ReadsAndWritesTheProcessorsFile) {
  const std::string path = golden_path("tiny/preprocessor_config.json");
  const PixelScaling scaling = scaling_from_json(read_object(path), path);
  EXPECT_EQ(scaling.mean[1], 0.4);
  EXPECT_EQ(scaling.std[2], 0.2);
  const PixelScaling back = scaling_from_json(parse_object(scaling_to_json(scaling, 32), "x"), "x");
  EXPECT_EQ(back.mean, scaling.mean);
  EXPECT_EQ(back.std, scaling.std);
  EXPECT_EQ(back.factor, scaling.factor);
}

TEST(PixelScaling, RefusesByNameHowImagesAreNotPrepared) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"resample":3})", "resample is 3"},
      {R"({"do_center_crop":true})", "do_center_crop"},
      {R"({"do_resize":false})", "do_resize"},
      {R"({"size":{"shortest_edge":224}})", "size is {\"shortest_edge\":224}"},
      {R"({"size":{"height":224,"width":192}})", "size"},
      {R"({"image_std":[0.5,0,0.5]})", "image_std"},
      {R"({"image_mean":[0.5]})", "image_mean"},
  };
  for (const auto& [json, part] : cases) {
    const std::string text = failure_of([&] { scaling_from_json(parse_object(json, "p.json"), "p.json"); });
    EXPECT_TRUE(mentions(text, part)) << json << "\n  " << text;
  }
}

TEST(ActivationPlan, RecomputingBlocksKeepsTheirInputsAlone) {
  ViTConfig config = config_of_size("base");
  config.labels = placeholder_labels(3);
  const ActivationSizes sizes = plan_activations(config, 8, {4}, 0, true);
  const uint64_t input = uint64_t{8} * 197 * 768 * 4;
  EXPECT_EQ(sizes.kept.size(), 2u * 14u);
  EXPECT_GT(sizes.kept[1], 15 * input);
  EXPECT_EQ(sizes.kept[14 + 1], input);
  EXPECT_EQ(plan_activations(config, 8, {4}, 5, true).kept[4], 0u);
}

// Measured by LibTorch's own accounting, which backward makes in the order that the arithmetic assumes.
TEST(ActivationPlan, WorkspaceIsNearWhatAStepOfTheReferenceTakes) {
  struct Measured {
    const char* size;
    uint64_t rows;
    ElementBytes bytes;
    bool gradients_in_place;
    double mebibytes[kRecomputeLevels];
  };
  for (const Measured& one :
       {Measured{"tiny", 8, {4}, true, {1.156, 17.351}}, Measured{"tiny", 8, {4}, false, {1.712, 17.914}},
        Measured{"small", 1, {4}, true, {0.292, 4.335}}, Measured{"small", 1, {4}, false, {4.450, 8.498}},
        Measured{"tiny", 8, {2, 4}, true, {6.908, 15.018}}, Measured{"tiny", 8, {2, 4}, false, {7.190, 15.300}},
        Measured{"small", 1, {2, 4}, true, {3.836, 5.862}}, Measured{"small", 1, {2, 4}, false, {5.657, 7.683}}}) {
    ViTConfig config = config_of_size(one.size);
    config.labels = placeholder_labels(3);
    const ActivationSizes sizes = plan_activations(config, one.rows, one.bytes, 0, one.gradients_in_place);
    for (uint32_t level = 0; level < kRecomputeLevels; ++level) {
      const double planned = static_cast<double>(sizes.workspace.at(level)) / (1 << 20);
      EXPECT_NEAR(planned / one.mebibytes[level], 1, 0.05) << one.size << ", level " << level;
    }
  }
}

TEST(ActivationPlan, FlopsOfBaseAreAsPublished) {
  ViTConfig config = config_of_size("base");
  config.labels = placeholder_labels(1000);
  double total = 0;
  for (const double flops : unit_flops(config)) total += flops;
  EXPECT_NEAR(total / 2, 17.56e9, 0.05e9);  // 17.56 G multiply-adds at 224 px
}

}  // namespace
}  // namespace esp::vit::test
