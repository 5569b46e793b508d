// Validated values for a list of options (a plugin's, or the host's own keys), in the form that crosses the border.
#pragma once

#include <espalier/abi.h>

#include <deque>
#include <span>
#include <string>
#include <vector>

namespace esp {

// Owns what the values point to; movable, never copied, so pointers stay valid for its life.
class OptionSet {
 public:
  OptionSet() = default;
  OptionSet(OptionSet&&) = default;
  OptionSet& operator=(OptionSet&&) = default;
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  std::span<const esp_value> values() const { return values_; }  // values()[i] belongs to options[i]

  // Each appends the value of the next option.
  void add_absent();  // no default and not given: type 0
  void add_integer(uint32_t type, int64_t value);
  void add_unsigned(uint32_t type, uint64_t value);
  void add_number(uint32_t type, double value);
  void add_text(uint32_t type, std::string value);
  void add_list(std::vector<int64_t> values);
  void add_list(std::vector<double> values);
  void add_list(std::vector<std::string> values);

 private:
  std::vector<esp_value> values_;
  std::deque<std::string> texts_;
  std::deque<std::vector<int64_t>> integer_lists_;
  std::deque<std::vector<double>> number_lists_;
  std::deque<std::vector<const char*>> text_lists_;
};

}  // namespace esp
