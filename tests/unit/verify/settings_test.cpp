#include "verify/settings.hpp"

#include <gtest/gtest.h>

#include "error.hpp"

namespace esp::verify {
namespace {

// A component with one option, "width": an integer from 1 to 8, 4 when not given.
class VerifySettings : public testing::Test {
 protected:
  VerifySettings() {
    esp_option option{};
    option.struct_size = sizeof option;
    option.type = ESP_OPT_I64;
    option.key = "width";
    option.def.type = option.min.type = option.max.type = ESP_OPT_I64;
    option.def.v.i = 4;
    option.min.v.i = 1;
    option.max.v.i = 8;
    component_.options = {option};
    component_.option_list = {&component_.options.front()};
  }
  ModuleComponent component_;
};

TEST_F(VerifySettings, GivenValuesStandAndDefaultsFillTheRest) {
  EXPECT_EQ(4, option_values(component_, {}).values()[0].v.i);
  EXPECT_EQ(7, option_values(component_, {{"width", "7"}, {"of_another_component", "x"}}).values()[0].v.i);
}

TEST_F(VerifySettings, AValueOutOfRangeIsRefusedByName) {
  try {
    option_values(component_, {{"width", "9"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(ExitCode::kUsage, error.code());
    EXPECT_NE(std::string::npos, std::string(error.what()).find("--with width=9")) << error.what();
  }
}

TEST_F(VerifySettings, AKeyThatNoComponentHasIsRefusedWithTheNearest) {
  const ModuleComponent* const components[] = {&component_};
  EXPECT_NO_THROW(check_keys(components, {{"width", "1"}}));
  try {
    check_keys(components, {{"witdh", "1"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string::npos, std::string(error.what()).find("did you mean width?")) << error.what();
  }
}

TEST_F(VerifySettings, AreReadAsKeysAndValues) {
  EXPECT_EQ((GivenValues{{"a", "1"}, {"b", "x=y"}, {"c", ""}}), parse_values("a=1,b=x=y,c="));
  EXPECT_TRUE(parse_values("").empty());
  EXPECT_THROW(parse_values("a"), Error);
  EXPECT_THROW(parse_values("=1"), Error);
}

}  // namespace
}  // namespace esp::verify
