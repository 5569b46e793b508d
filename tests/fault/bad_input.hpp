// One kind of bad input: what is typed, and how the host must refuse it.
#pragma once

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "support/scratch.hpp"

namespace esp::test {

struct BadInput {
  const char* name;  // as in the test's name
  int exit_code;     // host/error.hpp
  // Texts that the message must have: the culprit, and what helps.
  std::vector<std::string> says;
  // Makes the files it needs and returns the arguments of host.
  std::function<std::vector<std::string>(const Scratch&)> arguments;
  std::map<std::string, std::string> environment = {};
  bool one_error = true;  // else: one line for each error
};

inline void PrintTo(const BadInput& bad, std::ostream* out) { *out << bad.name; }

// A run that works: add one wrong flag to it. Stored weights and images, one step, two samples.
std::vector<std::string> good_run(const Scratch& scratch, const std::vector<std::string>& more);

// The same with a TOML file of that text.
std::vector<std::string> run_with_config(const Scratch& scratch, const std::string& toml);

// A copy of the stored images or weights in the scratch folder, to be damaged.
std::string copy_images(const Scratch& scratch);
std::string copy_weights(const Scratch& scratch);

std::vector<BadInput> bad_config_cases();
std::vector<BadInput> bad_plugin_cases();
std::vector<BadInput> bad_data_cases();
std::vector<BadInput> bad_weights_cases();
std::vector<BadInput> bad_place_cases();

}  // namespace esp::test
