// Bad input of every kind ends in a documented exit code and one clear line that names the culprit.
#include "bad_input.hpp"

#include <gtest/gtest.h>

#include "support/host_process.hpp"

namespace esp::test {
namespace {

constexpr double kLimit = 20;  // seconds, the slowest case loads LibTorch and two ranks

std::string stored(const std::string& name) { return std::string(ESPALIER_TESTS) + "/parity/data/" + name; }

std::string copy_stored(const Scratch& scratch, const std::string& name) {
  std::filesystem::copy(stored(name), scratch.path() / name, std::filesystem::copy_options::recursive);
  return scratch / name;
}

std::vector<BadInput> all_cases() {
  std::vector<BadInput> all;
  for (auto list : {bad_config_cases(), bad_plugin_cases(), bad_data_cases(), bad_weights_cases(), bad_place_cases()}) {
    all.insert(all.end(), list.begin(), list.end());
  }
  return all;
}

class BadInputs : public ::testing::TestWithParam<BadInput> {};

// What only a crash, an uncaught exception or a forgotten handler prints.
void expect_no_innards(const std::string& err) {
  for (const char* innard :
       {"terminate called", "what():", "Exception raised from", "frame #", "Aborted", "core dumped",
        "Segmentation fault", "basic_string", "vector::_M", "Traceback", "std::", "c10::", "Backtrace"}) {
    EXPECT_EQ(err.find(innard), std::string::npos) << "stderr shows " << innard;
  }
}

TEST_P(BadInputs, AreRefusedInOneLineThatNamesTheCulprit) {
  const BadInput& bad = GetParam();
  const Scratch scratch;
  const std::vector<std::string> arguments = bad.arguments(scratch);
  HostOptions options;
  options.folder = scratch.path();
  options.environment = bad.environment;
  HostProcess host(arguments, options);
  const Outcome outcome = host.wait(kLimit);
  SCOPED_TRACE(outcome.describe());
  EXPECT_EQ(outcome.exit_code, bad.exit_code);
  for (const std::string& text : bad.says) {
    EXPECT_NE(outcome.err.find(text), std::string::npos) << "stderr does not say \"" << text << '"';
  }
  if (bad.one_error) {
    EXPECT_EQ(outcome.error_lines().size(), 1u);
  }
  expect_no_innards(outcome.err);
  EXPECT_TRUE(host.descendants().empty());
}

INSTANTIATE_TEST_SUITE_P(Of, BadInputs, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

// The runs above are refused for the one thing that is wrong with them.
TEST(GoodInput, RunsToItsEnd) {
  const Scratch scratch;
  const Outcome outcome = run_host(good_run(scratch, {}), kLimit);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.describe();
}

}  // namespace

std::vector<std::string> good_run(const Scratch& scratch, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"run",
                                        "--plugin=libddp.so",
                                        "--device=cpu",
                                        "--threads=1",
                                        "--out=" + (scratch / "out"),
                                        "--model.weights=" + stored("small"),
                                        "--data.path=" + stored("images"),
                                        "--train.max_steps=1",
                                        "--train.batch_size=2"};
  for (const std::string& flag : more) {
    // A flag given again replaces the one above.
    const std::string key = flag.substr(0, flag.find('=') + 1);
    std::erase_if(arguments, [&](const std::string& a) { return key.size() > 1 && a.starts_with(key); });
    arguments.push_back(flag);
  }
  return arguments;
}

std::vector<std::string> run_with_config(const Scratch& scratch, const std::string& toml) {
  return good_run(scratch, {"--config=" + scratch.write("bad.toml", toml)});
}

std::string copy_images(const Scratch& scratch) { return copy_stored(scratch, "images"); }
std::string copy_weights(const Scratch& scratch) { return copy_stored(scratch, "small"); }

}  // namespace esp::test
