// host plan on the stored weights and images.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/host_process.hpp"

namespace esp::test {

// The flags of a small model on stored images with one thread; `more` comes behind them.
std::vector<std::string> small_run(const std::string& command, const std::vector<std::string>& more);

// host plan --json with these flags, which must succeed.
nlohmann::json planned(const std::vector<std::string>& more);

}  // namespace esp::test
