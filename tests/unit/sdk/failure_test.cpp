#include <gtest/gtest.h>

#include <espalier/failure.hpp>
#include <memory>
#include <string>

namespace {

esp_error fresh() {
  esp_error error{};
  error.struct_size = sizeof error;
  return error;
}

TEST(Guard, ReturnsOkWhenNothingIsThrown) {
  esp_error error = fresh();
  EXPECT_EQ(ESP_OK, esp::guarded("here", &error, [] {}));
  EXPECT_STREQ("", error.message);
}

TEST(Guard, TurnsAFailureIntoItsCodeAndText) {
  esp_error error = fresh();
  EXPECT_EQ(ESP_E_UNSUPPORTED, esp::guarded("plan", &error, [] { esp::fail(ESP_E_UNSUPPORTED, "needs ", 7, " GB"); }));
  EXPECT_EQ(ESP_E_UNSUPPORTED, error.code);
  EXPECT_STREQ("plan", error.where);
  EXPECT_STREQ("needs 7 GB", error.message);
}

TEST(Guard, KeepsThePlaceAndRuleOfAFailureFromFurtherInside) {
  esp_error error = fresh();
  esp::guarded("prepare", &error, [] { throw esp::Failure(ESP_E_DEVICE_MEMORY, "full", "esp.memory alloc", 12); });
  EXPECT_STREQ("esp.memory alloc", error.where);
  EXPECT_EQ(12u, error.rule);
}

TEST(Guard, NamesWhateverElseIsThrown) {
  esp_error error = fresh();
  EXPECT_EQ(ESP_E_HOST_MEMORY, esp::guarded("f", &error, [] { throw std::bad_alloc(); }));
  EXPECT_EQ(ESP_E_INTERNAL, esp::guarded("f", &error, [] { throw std::runtime_error("first\nbacktrace"); }));
  EXPECT_STREQ("first", error.message);
  EXPECT_EQ(ESP_E_INTERNAL, esp::guarded("f", &error, [] { throw 3; }));
  EXPECT_NE(std::string(), error.message);
}

TEST(Guard, NeverReportsAFailureAsSuccess) {
  EXPECT_EQ(ESP_E_INTERNAL, esp::guarded("f", nullptr, [] { throw esp::Failure(ESP_OK, "odd"); }));
}

TEST(Guard, WorksWithoutAnError) {
  EXPECT_EQ(ESP_E_IO, esp::guarded("f", nullptr, [] { esp::fail(ESP_E_IO, "gone"); }));
}

TEST(Guard, WritesNothingBehindAShortError) {
  // As an old host might have it: only up to `code`, in an allocation of exactly that size.
  const auto bytes = std::make_unique<unsigned char[]>(8);
  auto* error = reinterpret_cast<esp_error*>(bytes.get());
  error->struct_size = 8;
  EXPECT_EQ(ESP_E_IO, esp::guarded("f", error, [] { esp::fail(ESP_E_IO, "gone"); }));
  EXPECT_EQ(ESP_E_IO, error->code);
}

TEST(Guard, CutsALongTextBetweenCharacters) {
  esp_error error = fresh();
  std::string text = "x";
  while (text.size() < 600) text += "\xc3\xa4";  // two bytes each, starting at an odd place
  esp::guarded("f", &error, [&] { esp::fail(ESP_E_DATA, text); });
  EXPECT_EQ(463u, std::string(error.message).size());
  EXPECT_EQ(text.substr(0, 463), error.message);
  esp::guarded("f", &error, [&] { esp::fail(ESP_E_DATA, text.substr(1)); });
  EXPECT_EQ(462u, std::string(error.message).size()) << "the 232nd character does not fit whole";
}

esp_status refuses(int number, esp_error* error) {
  error->code = ESP_E_STATE;
  std::snprintf(error->where, sizeof error->where, "inside");
  std::snprintf(error->message, sizeof error->message, "not %d", number);
  return ESP_E_STATE;
}

esp_status refuses_silently(esp_error*) { return ESP_E_COMM; }

TEST(Call, ThrowsWhatTheOtherSideSays) {
  try {
    esp::call("table function", &refuses, 5);
    FAIL() << "nothing was thrown";
  } catch (const esp::Failure& failure) {
    EXPECT_EQ(ESP_E_STATE, failure.code());
    EXPECT_STREQ("not 5", failure.what());
    EXPECT_EQ("inside", failure.where());
  }
}

TEST(Call, NamesTheFunctionWhenTheOtherSideSaysNothing) {
  try {
    esp::call("table function", &refuses_silently);
    FAIL() << "nothing was thrown";
  } catch (const esp::Failure& failure) {
    EXPECT_EQ(ESP_E_COMM, failure.code());
    EXPECT_EQ("table function", failure.where());
    EXPECT_NE(std::string(), failure.what());
  }
}

}  // namespace
