// What a sweep file says, before anyone knows which keys there are: the settings of all runs, and what varies.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/settings.hpp"

namespace esp {

// A key of [sweep] with the values it takes, in the order of the file.
struct SweepAxis {
  std::string key;
  std::vector<Setting> values;  // at least one
  Place place;
};

// [[sweep.external]]: another program that does the same job.
struct SweepExternal {
  std::string name;
  std::vector<std::string> command;
  Place place;
};

struct SweepDocument {
  std::string folder;  // of the file
  Settings base;
  std::vector<SweepAxis> axes;
  std::vector<Settings> cases;  // [[sweep.case]]: keys that are set together
  std::vector<SweepExternal> externals;
};

// As parse_toml(), for a file that has a [sweep]. Throws Error(kUsage) with file, line and column, all problems at
// once; also for a file without one.
SweepDocument parse_sweep(std::string_view text, const std::string& file, const std::string& base_folder);

// As read_settings_file().
SweepDocument read_sweep_file(const std::string& path);

}  // namespace esp
