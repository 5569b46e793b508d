#include "runtime/train/model_view.hpp"

#include <gtest/gtest.h>

#include "error.hpp"

namespace esp::runtime {
namespace {

// A model of two units: a matrix and a bias, then a head.
struct Description {
  int64_t shape[2] = {3, 4};
  esp_param params[3] = {
      {sizeof(esp_param), 0, "body.weight", shape, 2, ESP_PARAM_TRAINABLE, 12, 0, 0},
      {sizeof(esp_param), 1, "body.bias", shape, 1, ESP_PARAM_TRAINABLE | ESP_PARAM_NO_DECAY, 3, 0, 0},
      {sizeof(esp_param), 2, "head.weight", shape, 2, ESP_PARAM_TRAINABLE, 12, 0, 0},
  };
  const esp_param* list[3] = {&params[0], &params[1], &params[2]};
  uint32_t body_uses[2] = {0, 1};
  uint32_t head_uses[1] = {2};
  esp_unit units[2] = {{sizeof(esp_unit), 0, "body", body_uses, 2, 0}, {sizeof(esp_unit), 0, "head", head_uses, 1, 0}};
  const esp_unit* unit_list[2] = {&units[0], &units[1]};
  esp_model_desc desc{};
  Description() {
    desc.struct_size = sizeof desc;
    desc.n_params = 3;
    desc.n_units = 2;
    desc.name = "toy";
    desc.params = list;
    desc.units = unit_list;
  }
};

TEST(Pattern, StarsAndQuestionMarksMatchWholeNames) {
  EXPECT_TRUE(matches_pattern("*.bias", "body.bias"));
  EXPECT_TRUE(matches_pattern("b*y.b?as", "body.bias"));
  EXPECT_TRUE(matches_pattern("*", ""));
  EXPECT_FALSE(matches_pattern("body", "body.bias"));
  EXPECT_FALSE(matches_pattern("?", ""));
  EXPECT_TRUE(matches_pattern("*a*b", "aXbXab"));
}

TEST(ModelView, ScheduleIsForwardThenBackwardOfEachMicroBatch) {
  const Description model;
  const ModelView view(model.desc, {}, 2);
  ASSERT_EQ(view.view().n_train, 8u);
  EXPECT_EQ(view.view().train[3].phase, ESP_BWD);
  EXPECT_EQ(view.view().train[3].unit, 0u);
  EXPECT_EQ(view.view().train[4].micro, 1u);
  EXPECT_EQ(view.view().n_eval, 2u);
}

TEST(ModelView, FreezesByPatternAndGroupsByDecay) {
  const Description model;
  const std::vector<std::string> freeze{"body.*"};
  const ModelView view(model.desc, freeze, 1);
  EXPECT_EQ(view.trainable_elements(), 12u);
  EXPECT_EQ(view.trainable()[0], 0);
  EXPECT_EQ(view.params()[1].group, kNoDecayGroup);
  EXPECT_EQ(view.params()[2].group, kDecayGroup);
}

TEST(ModelView, RefusesPatternsThatMatchNothingAndFreezingEverything) {
  const Description model;
  const std::vector<std::string> nothing{"layers.*"}, all{"*"};
  EXPECT_THROW(ModelView(model.desc, nothing, 1), Error);
  EXPECT_THROW(ModelView(model.desc, all, 1), Error);
  EXPECT_NO_THROW(ModelView(model.desc, all, 0));
}

}  // namespace
}  // namespace esp::runtime
