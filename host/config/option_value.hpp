// One setting against one option: the typed value, or what is wrong with it.
#pragma once

#include <espalier/abi.h>

#include <stdexcept>
#include <string>

#include "config/option_set.hpp"
#include "config/settings.hpp"

namespace esp {

// A host key that names a library: a text with a '/' is a path and made absolute. A hint bit that the ABI leaves alone.
inline constexpr uint32_t kOptionNamesLibrary = 0x8000;

// Why a setting does not fit: "is text; an integer from 1 is expected".
class BadValue : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Appends the setting's value as the option's type. Text of flags is read as that type. Throws BadValue.
void add_value(const esp_option& option, const Setting& setting, OptionSet& into);
// Appends the option's default.
void add_default(const esp_option& option, OptionSet& into);

// "an integer from 1 to 8", "one of adamw, sgd".
std::string expectation(const esp_option& option);
// As TOML spells it; empty for an absent value.
std::string value_text(const esp_value& value);
// "file.toml:3:1: train.epochs = 0 is too small; ..." or "--train.epochs=0 is too small; ...".
std::string problem_text(const std::string& key, const Setting& setting, const std::string& why);

}  // namespace esp
