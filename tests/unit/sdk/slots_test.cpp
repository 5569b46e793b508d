#include <gtest/gtest.h>

#include <espalier/kit/slots.hpp>

#include "mock_host.hpp"

namespace {

class SlotsTest : public ::testing::Test {
 protected:
  MockWorld world_{1};
  MockHost mock_{world_, 0, MockUpdate()};
  const esp_run run_{};
  const esp_config config_{sizeof(esp_config), 0, nullptr, &run_, nullptr, 0, 0};
  const esp::Host host_{mock_.host(), config_};
  const esp_stream side_ = host_.device.new_stream();
};

TEST_F(SlotsTest, ANewUserRunsBehindTheLastOne) {
  esp::kit::Slots slots(host_, 1, 256, ESP_TAG_BUCKET);
  mock_.fork();
  slots.begin_step();
  const uint32_t slot = slots.take(mock_.compute());
  mock_.writes(mock_.enqueue("first", mock_.compute()), slots.data(slot), 256, mock_.compute());
  slots.give_back(slot, mock_.compute());
  const uint32_t again = slots.take(side_);
  mock_.writes(mock_.enqueue("second", side_), slots.data(again), 256, side_);
  EXPECT_EQ(std::vector<std::string>(), mock_.violations);
}

TEST_F(SlotsTest, AreLentInTheSameOrderEachStepAndForgetTheEventsOfTheLast) {
  esp::kit::Slots slots(host_, 3, 256, ESP_TAG_BUCKET);
  std::vector<uint32_t> lent[2];
  for (auto& order : lent) {
    mock_.fork();
    slots.begin_step();
    order.push_back(slots.take(mock_.compute()));
    order.push_back(slots.take(mock_.compute()));
    slots.give_back(order[0], side_);
    order.push_back(slots.take(mock_.compute()));
    order.push_back(slots.take(mock_.compute()));
  }
  EXPECT_EQ(lent[0], lent[1]);
  EXPECT_EQ(std::vector<std::string>(), mock_.violations);
}

TEST_F(SlotsTest, RefuseWhenAllAreLent) {
  esp::kit::Slots slots(host_, 1, 256, ESP_TAG_BUCKET);
  slots.take(mock_.compute());
  EXPECT_FALSE(slots.any_free());
  EXPECT_THROW(slots.take(mock_.compute()), esp::Failure);
}

}  // namespace
