#include "planned.hpp"

#include <gtest/gtest.h>

namespace esp::test {

std::vector<std::string> small_run(const std::string& command, const std::vector<std::string>& more) {
  const std::string data = std::string(ESPALIER_TESTS) + "/parity/data/";
  std::vector<std::string> arguments = {command, "--device=cpu", "--threads=1", "--model.weights=" + data + "small",
                                        "--data.path=" + data + "images"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

nlohmann::json planned(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = small_run("plan", more);
  arguments.push_back("--json");
  const Outcome outcome = run_host(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.describe();
  EXPECT_EQ(outcome.err, "");
  return nlohmann::json::parse(outcome.out, nullptr, false);
}

}  // namespace esp::test
