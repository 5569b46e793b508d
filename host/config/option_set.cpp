#include "config/option_set.hpp"

#include <utility>

namespace esp {
namespace {

esp_value list_value(uint32_t type, size_t n, const void* data) {
  esp_value value{};
  value.type = type;
  value.n = static_cast<uint32_t>(n);
  value.v.list = data;
  return value;
}

}  // namespace

void OptionSet::add_absent() { values_.push_back({}); }

void OptionSet::add_integer(uint32_t type, int64_t value) {
  esp_value added{};
  added.type = type;
  added.v.i = value;
  values_.push_back(added);
}

void OptionSet::add_unsigned(uint32_t type, uint64_t value) {
  esp_value added{};
  added.type = type;
  added.v.u = value;
  values_.push_back(added);
}

void OptionSet::add_number(uint32_t type, double value) {
  esp_value added{};
  added.type = type;
  added.v.f = value;
  values_.push_back(added);
}

void OptionSet::add_text(uint32_t type, std::string value) {
  esp_value added{};
  added.type = type;
  added.v.s = texts_.emplace_back(std::move(value)).c_str();
  values_.push_back(added);
}

void OptionSet::add_list(std::vector<int64_t> values) {
  const auto& kept = integer_lists_.emplace_back(std::move(values));
  values_.push_back(list_value(ESP_OPT_LIST_I64, kept.size(), kept.data()));
}

void OptionSet::add_list(std::vector<double> values) {
  const auto& kept = number_lists_.emplace_back(std::move(values));
  values_.push_back(list_value(ESP_OPT_LIST_F64, kept.size(), kept.data()));
}

void OptionSet::add_list(std::vector<std::string> values) {
  std::vector<const char*> pointers;
  for (std::string& value : values) pointers.push_back(texts_.emplace_back(std::move(value)).c_str());
  const auto& kept = text_lists_.emplace_back(std::move(pointers));
  values_.push_back(list_value(ESP_OPT_LIST_STR, kept.size(), kept.data()));
}

}  // namespace esp
