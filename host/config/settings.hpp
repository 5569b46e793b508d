// What the user wrote, before anyone knows what it means: dotted keys with a value and the place it stands in.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace esp {

// Where a setting was written: "sweep.toml:14:9", or "--train.batch_size".
struct Place {
  std::string text;
  std::string base_folder;  // relative paths in the value start here: the TOML file's folder, or the working folder
  int line = 0;             // in the file, from 1; 0: not from a file
  int column = 0;
};

using Scalar = std::variant<bool, int64_t, double, std::string>;

struct Setting {
  std::variant<bool, int64_t, double, std::string, std::vector<Scalar>> value;  // of a flag: always the text
  bool from_flag = false;
  Place place;
};

using Settings = std::map<std::string, Setting>;  // key: "train.batch_size"

// Reads a TOML file. At most 64 KiB; toml++ asserts and recurses on some inputs, which are refused before it sees them.
// Throws Error(kUsage) with file, line and column.
Settings read_settings_file(const std::string& path);

// Later settings win over earlier ones of the same key.
void merge(Settings& into, const Settings& later);

}  // namespace esp
