// Options as a plugin declares them, for tests.
#pragma once

#include <espalier/abi.h>

#include <vector>

#include "config/resolve.hpp"
#include "error.hpp"

namespace esp::testing {

inline esp_option option(uint32_t type, const char* key, uint32_t flags = 0) {
  esp_option made{};
  made.struct_size = sizeof made;
  made.type = type;
  made.flags = flags;
  made.key = key;
  made.doc = "of a test";
  return made;
}

inline Setting from_file(decltype(Setting::value) value, int line = 3) {
  return {std::move(value), false, {"run.toml:" + std::to_string(line) + ":1", "/folder", line, 1}};
}

inline Setting from_flag(const std::string& flag, std::string text) { return {std::move(text), true, {flag, "/work"}}; }

// One option of every type, most with bounds.
class EveryType {
 public:
  EveryType() {
    bool_.def = {.type = ESP_OPT_BOOL, .n = 0, .v = {.i = 1}};
    i64.def = integer(4);
    i64.min = integer(1);
    i64.max = integer(8);
    f64.def = {.type = ESP_OPT_F64, .n = 0, .v = {.f = 0.1}};
    text.def = {.type = ESP_OPT_STR, .n = 0, .v = {.s = "a \"quoted\" \\ text"}};
    choice.def = {.type = ESP_OPT_ENUM, .n = 0, .v = {.s = "one"}};
    choice.choices = kChoices;
    choice.n_choices = 3;
    size.def = {.type = ESP_OPT_BYTES, .n = 0, .v = {.u = 25u << 20}};
    size.max = {.type = ESP_OPT_BYTES, .n = 0, .v = {.u = 4ull << 30}};
    time.def = {.type = ESP_OPT_DURATION, .n = 0, .v = {.f = 90}};
    integers.def = {.type = ESP_OPT_LIST_I64, .n = 2, .v = {.list = kIntegers}};
    integers.min = integer(-5);
    numbers.def = {.type = ESP_OPT_LIST_F64, .n = 2, .v = {.list = kNumbers}};
    texts.def = {.type = ESP_OPT_LIST_STR, .n = 2, .v = {.list = kTexts}};
  }
  EveryType(const EveryType&) = delete;

  esp_option bool_ = option(ESP_OPT_BOOL, "overlap"), i64 = option(ESP_OPT_I64, "stage"),
             f64 = option(ESP_OPT_F64, "ratio"), text = option(ESP_OPT_STR, "label"),
             choice = option(ESP_OPT_ENUM, "mode"), size = option(ESP_OPT_BYTES, "bucket"),
             time = option(ESP_OPT_DURATION, "patience"), path = option(ESP_OPT_PATH, "folder"),
             integers = option(ESP_OPT_LIST_I64, "ids"), numbers = option(ESP_OPT_LIST_F64, "scales"),
             texts = option(ESP_OPT_LIST_STR, "names");
  std::vector<const esp_option*> list{&bool_, &i64,  &f64,      &text,    &choice, &size,
                                      &time,  &path, &integers, &numbers, &texts};

 private:
  static esp_value integer(int64_t value) { return {.type = ESP_OPT_I64, .n = 0, .v = {.i = value}}; }
  static constexpr const char* kChoices[] = {"one", "two", "three"};
  static constexpr int64_t kIntegers[] = {-3, 7};
  static constexpr double kNumbers[] = {0.5, 1e-8};
  static constexpr const char* kTexts[] = {"head.*", "embed\tdings"};
};

// The message of the Error(kUsage) that `body` throws; what else happens is a message too.
template <class Body>
std::string usage_error(Body body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kUsage) return "exit code " + std::to_string(static_cast<int>(error.code()));
    return error.what();
  }
  return "no error";
}

}  // namespace esp::testing
