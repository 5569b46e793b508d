// What the model tells about itself, through the ABI.
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "model_rig.hpp"
#include "scratch.hpp"

namespace esp::vit::test {
namespace {

RigSetup small() {
  RigSetup setup;
  setup.options = small_options();
  return setup;
}

TEST(Model, DescribesUnitsInOrderOfExecution) {
  const ModelRig rig(small());
  const esp_model_desc& desc = rig.desc();
  ASSERT_EQ(desc.n_units, 4u);
  EXPECT_STREQ(desc.units[0]->name, "embedding");
  EXPECT_STREQ(desc.units[1]->name, "block.0");
  EXPECT_STREQ(desc.units[3]->name, "head");
  EXPECT_EQ(desc.units[0]->n_uses, 4u);
  EXPECT_EQ(desc.units[1]->n_uses, 16u);
  EXPECT_EQ(desc.units[3]->n_uses, 4u);
  std::set<uint32_t> used;
  for (uint32_t unit = 0; unit < desc.n_units; ++unit) {
    for (uint32_t i = 0; i < desc.units[unit]->n_uses; ++i) used.insert(desc.units[unit]->uses[i]);
    EXPECT_GT(desc.unit_flops[unit], 0);
  }
  EXPECT_EQ(used.size(), desc.n_params);
  EXPECT_EQ(desc.n_classes, 3u);
  EXPECT_STREQ(desc.name, "vit 32x2, patch 8, 32 px");
  EXPECT_STREQ(desc.recompute[1], "block");
}

TEST(Model, OneDimensionalParametersDoNotDecay) {
  const ModelRig rig(small());
  for (uint32_t i = 0; i < rig.desc().n_params; ++i) {
    const esp_param& param = *rig.desc().params[i];
    const bool decays = param.ndim > 1;
    EXPECT_EQ((param.flags & ESP_PARAM_NO_DECAY) != 0, !decays) << param.name;
    EXPECT_EQ(param.group, decays ? 0u : 1u) << param.name;
  }
}

TEST(Model, AutoIsTinyOnACpu) {
  RigSetup setup;
  setup.options.num_hidden_layers = 1;
  const ModelRig rig(setup);
  EXPECT_EQ(rig.desc().params[0]->shape[2], 192);
  EXPECT_EQ(rig.desc().inputs[0]->shape[0], 224);
}

TEST(Model, RefusesSizesThatDoNotDivide) {
  RigSetup setup = small();
  setup.options.num_attention_heads = 5;
  std::string text = failure_of([&] { ModelRig rig(setup); });
  EXPECT_NE(text.find("num_attention_heads (5) does not divide hidden_size (32)"), std::string::npos) << text;
  setup = small();
  setup.options.patch_size = 7;
  text = failure_of([&] { ModelRig rig(setup); });
  EXPECT_NE(text.find("patch_size (7) does not divide image_size (32)"), std::string::npos) << text;
}

}  // namespace
}  // namespace esp::vit::test
