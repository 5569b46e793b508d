// Schemas that make no sense, one way each: L37. The good one passes.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "modules/option_checks.hpp"
#include "plugin_bytes.hpp"

namespace esp {
namespace {

using test::expect_refusal;

esp_value integer(int64_t i) {
  esp_value value{ESP_OPT_I64, 0, {}};
  value.v.i = i;
  return value;
}

esp_value real(double f) {
  esp_value value{ESP_OPT_F64, 0, {}};
  value.v.f = f;
  return value;
}

esp_value text(uint32_t type, const char* s) {
  esp_value value{type, 0, {}};
  value.v.s = s;
  return value;
}

esp_option good() {
  esp_option option{};
  option.struct_size = sizeof option;
  option.type = ESP_OPT_I64;
  option.key = "period";
  option.doc = "steps between averages";
  option.def = integer(8);
  option.min = integer(1);
  option.max = integer(8);
  return option;
}

void check(const esp_option& option) {
  const esp_option* const list[] = {&option};
  check_options(list, 1, "strategy toy", "libtoy.so");
}

// An ENUM with choices a and b.
esp_option choice() {
  static const char* const kChoices[] = {"a", "b"};
  esp_option option = good();
  option.type = ESP_OPT_ENUM;
  option.def = text(ESP_OPT_ENUM, "b");
  option.min = option.max = esp_value{};
  option.choices = kChoices;
  option.n_choices = 2;
  return option;
}

esp_option of_type(uint32_t type, esp_value def) {
  esp_option option = good();
  option.type = type;
  option.def = def;
  option.min = option.max = esp_value{};
  return option;
}

void expect_fault(std::string_view part, esp_option option, const std::function<void(esp_option&)>& change) {
  EXPECT_NO_THROW(check(option));
  change(option);
  expect_refusal(37, part, [&] { check(option); });
}

TEST(OptionSchema, RefusesKeysAndTextsThatAreIllFormed) {
  for (const char* key : {"", "Period", "1st", "bucket-size", "a.b", "p\n"}) {
    expect_fault("ill-formed key", good(), [&](auto& option) { option.key = key; });
  }
  expect_fault("ill-formed key", good(), [](auto& option) { option.key = nullptr; });
  expect_fault("no doc", good(), [](auto& option) { option.doc = nullptr; });
  expect_fault("one line", good(), [](auto& option) { option.doc = "two\nlines"; });
  expect_fault("replaced_by", good(), [](auto& option) { option.replaced_by = "\xff"; });
}

TEST(OptionSchema, RefusesTypesAndFlagsThatAreUnknown) {
  expect_fault("unknown type 0", good(), [](auto& option) { option.type = 0; });
  expect_fault("unknown type 12", good(), [](auto& option) { option.type = 12; });
  expect_fault("flag", good(), [](auto& option) { option.flags = 0x10000; });
  esp_option hint = good();
  hint.flags = 0x4000;  // an unknown hint is harmless
  EXPECT_NO_THROW(check(hint));
}

TEST(OptionSchema, RefusesDefaultsThatDoNotFit) {
  expect_fault("outside its range", good(), [](auto& option) { option.def = integer(9); });
  expect_fault("outside its range", good(), [](auto& option) { option.def = integer(0); });
  expect_fault("another type", good(), [](auto& option) { option.def = real(8); });
  expect_fault("no default", good(), [](auto& option) { option.def = esp_value{}; });
  expect_fault("REQUIRED and has a default", good(), [](auto& option) { option.flags = ESP_OPT_REQUIRED; });
  expect_fault("finite", of_type(ESP_OPT_F64, real(1)), [](auto& option) { option.def.v.f = std::nan(""); });
  expect_fault("beside 0 and 1", of_type(ESP_OPT_BOOL, {ESP_OPT_BOOL, 0, {}}),
               [](auto& option) { option.def.v.i = 2; });
  expect_fault("NULL", of_type(ESP_OPT_STR, text(ESP_OPT_STR, "")), [](auto& option) { option.def.v.s = nullptr; });
}

TEST(OptionSchema, RefusesBoundsThatMakeNoSense) {
  expect_fault("minimum above its maximum", good(), [](auto& option) { option.min = integer(9); });
  expect_fault("bound of another type", good(), [](auto& option) { option.max = real(9); });
  expect_fault("not a number", of_type(ESP_OPT_F64, real(1)), [](auto& option) { option.min = real(std::nan("")); });
  expect_fault("is no number", choice(), [](auto& option) { option.min = text(ESP_OPT_ENUM, "a"); });
  esp_option unbounded = of_type(ESP_OPT_F64, real(1));
  unbounded.max = real(std::numeric_limits<double>::infinity());
  EXPECT_NO_THROW(check(unbounded));
}

TEST(OptionSchema, ComparesSizesWithoutSigns) {
  esp_option size = of_type(ESP_OPT_BYTES, {ESP_OPT_BYTES, 0, {}});
  size.def.v.u = ~0ull;
  size.min = size.def;
  size.min.v.u = 1;
  EXPECT_NO_THROW(check(size));
}

TEST(OptionSchema, RefusesChoicesThatMakeNoSense) {
  static const char* const kTwice[] = {"a", "a"};
  static const char* const kNull[] = {"a", nullptr};
  expect_fault("0 choices", choice(), [](auto& option) { option.n_choices = 0; });
  expect_fault("2 choices", choice(), [](auto& option) { option.choices = nullptr; });
  expect_fault("\"a\" twice", choice(), [](auto& option) { option.choices = kTwice; });
  expect_fault("no choice", choice(), [](auto& option) { option.choices = kNull; });
  expect_fault("none of its choices", choice(), [](auto& option) { option.def = text(ESP_OPT_ENUM, "c"); });
  expect_fault("is no ENUM", good(), [](auto& option) { option.n_choices = 1; });
}

TEST(OptionSchema, RefusesListsWithoutElements) {
  static const char* const kTexts[] = {"a", nullptr};
  const esp_option list = of_type(ESP_OPT_LIST_STR, {ESP_OPT_LIST_STR, 0, {}});
  expect_fault("without elements", list, [](auto& option) { option.def.n = 1; });
  expect_fault("NULL", list, [](auto& option) {
    option.def.n = 2;
    option.def.v.list = kTexts;
  });
}

TEST(OptionSchema, RefusesStructsThatAreMissingOrShort) {
  const esp_option* const missing[] = {nullptr};
  expect_refusal(35, "option 0 is NULL", [&] { check_options(missing, 1, "strategy toy", "libtoy.so"); });
  expect_refusal(35, "gives none", [] { check_options(nullptr, 1, "strategy toy", "libtoy.so"); });
  esp_option brief = good();
  brief.struct_size = ESP_UPTO(esp_option, max);
  expect_refusal(35, "shorter", [&] { check(brief); });
  EXPECT_NO_THROW(check_options(nullptr, 0, "strategy toy", "libtoy.so"));
}

}  // namespace
}  // namespace esp
