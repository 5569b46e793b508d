#include "verify/gradient_comparison.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace esp::verify {
namespace {

class VerifyGradientComparison : public testing::Test {
 protected:
  esp_param params_[2] = {{sizeof(esp_param), 0, "large", nullptr, 0, 0, 2, 0, 0},
                          {sizeof(esp_param), 1, "small", nullptr, 0, 0, 1, 0, 0}};
  const esp_param* list_[2] = {&params_[0], &params_[1]};
  esp_model_desc desc_ = [this] {
    esp_model_desc desc{};
    desc.n_params = 2;
    desc.params = list_;
    return desc;
  }();
};

TEST_F(VerifyGradientComparison, TellsTheFirstElementThatDiffers) {
  const Gradients a = {{1, 2}, {3}}, b = {{1, 2.5}, {4}};
  EXPECT_EQ("", first_difference(desc_, a, a, 0));
  EXPECT_EQ("the gradient of large, element 1, is 2.5, not 2", first_difference(desc_, b, a, 0.1));
}

TEST_F(VerifyGradientComparison, LeavesRoomInProportionToTheParametersLargest) {
  const Gradients a = {{100, 0}, {1}}, near = {{100, 0.9}, {1}}, far = {{100, 0}, {1.02}};
  EXPECT_EQ("", first_difference(desc_, near, a, 0.01));
  EXPECT_NE("", first_difference(desc_, far, a, 0.01));
}

TEST_F(VerifyGradientComparison, NaNIsADifference) {
  const Gradients a = {{1, 2}, {3}}, b = {{1, std::nan("")}, {3}};
  EXPECT_NE("", first_difference(desc_, b, a, 1));
  EXPECT_NE("", first_difference(desc_, a, b, 1));
}

TEST_F(VerifyGradientComparison, OnlyWhatBothSidesHaveIsCompared) {
  const Gradients a = {{1, 2}, {3}}, frozen = {{}, {3}};
  EXPECT_EQ("", first_difference(desc_, frozen, a, 0));
}

TEST_F(VerifyGradientComparison, TheCosineIsThatOfAllElements) {
  EXPECT_DOUBLE_EQ(1, cosine({{1, 2}, {3}}, {{2, 4}, {6}}));
  EXPECT_DOUBLE_EQ(-1, cosine({{1, 2}, {3}}, {{-1, -2}, {-3}}));
  EXPECT_DOUBLE_EQ(0, cosine({{1, 0}, {0}}, {{0, 0}, {5}}));
}

}  // namespace
}  // namespace esp::verify
