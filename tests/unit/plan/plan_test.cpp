// host plan: refusals, crashes, the list of all strategies, and what can be planned without data or a device.
#include <gtest/gtest.h>

#include <algorithm>

#include "planned.hpp"

namespace esp::test {
namespace {

const std::string kTouching = std::string("--plugin=") + ESPALIER_PLAN_PLUGINS + "/libtouching.so";
constexpr uint64_t kMiB = 1u << 20;

Outcome plan(const std::vector<std::string>& more) { return run_host(small_run("plan", more)); }

TEST(Plan, NamesTheStrategyThatTouchesMemoryInPrepare) {
  const Outcome outcome = plan({kTouching});
  EXPECT_EQ(outcome.exit_code, 3) << outcome.describe();
  ASSERT_EQ(outcome.error_lines().size(), 1u) << outcome.describe();
#ifdef __SANITIZE_ADDRESS__
  EXPECT_NE(outcome.err.find("prepare must not touch"), std::string::npos) << outcome.err;
#else
  EXPECT_EQ(outcome.err,
            "host: crashed with signal 11 (SIGSEGV) in prepare of libtouching.so:touching; host plan prepares a "
            "strategy without memory behind its addresses: prepare must not touch what esp.memory gives\n");
#endif
}

TEST(Plan, SurvivesAStrategyThatEndsTheProcess) {
  const Outcome outcome = plan({kTouching, "--strategy.mistake=exit"});
  EXPECT_EQ(outcome.exit_code, 3) << outcome.describe();
  EXPECT_NE(outcome.err.find("ended the process (exit code 0)"), std::string::npos) << outcome.err;
}

TEST(Plan, TellsTheLargestOfAllRanks) {
  const nlohmann::json json = planned({kTouching, "--strategy.mistake=none", "--nproc=3"});
  EXPECT_EQ(json.at("memory_bytes").at("buckets"), 3 * kMiB);
  EXPECT_EQ(json.at("memory_bytes").at("optimizer"), kMiB);
  EXPECT_EQ(json.at("planned_ranks"), nlohmann::json({0, 1, 2}));
  const nlohmann::json wide = planned({kTouching, "--strategy.mistake=none", "--nproc=20"});
  EXPECT_EQ(wide.at("memory_bytes").at("buckets"), 20 * kMiB);
  EXPECT_EQ(wide.at("planned_ranks"), nlohmann::json({0, 19}));
}

TEST(Plan, SumsItsTagsToDeviceAndPinnedMemory) {
  const nlohmann::json json = planned({"--plugin=libzero.so", "--nproc=2"});
  uint64_t sum = 0;
  for (const auto& [tag, bytes] : json.at("memory_bytes").items()) sum += bytes.get<uint64_t>();
  EXPECT_EQ(sum, json.at("device_bytes").get<uint64_t>() + json.at("pinned_bytes").get<uint64_t>());
  EXPECT_EQ(json.at("fits"), true);
}

TEST(Plan, RefusesWithTheNumbersWhatABudgetCannotHold) {
  const Outcome outcome = plan({"--plugin=libddp.so", "--device_budget=64KiB"});
  EXPECT_EQ(outcome.exit_code, 6) << outcome.describe();
  EXPECT_NE(outcome.err.find("of the budget of 65536 bytes (run.device_budget)"), std::string::npos) << outcome.err;
}

// The smallest placement is found in prepare; what is left beside activations and the host in adapt.
TEST(Plan, AdaptsWithinABudgetAndRefusesOneThatIsTooSmall) {
  const std::vector<std::string> automatic = {"--plugin=libgemini.so", "--strategy.placement=auto",
                                              "--train.batch_size=2"};
  const auto within = [&](uint64_t budget) {
    std::vector<std::string> flags = automatic;
    flags.push_back("--device_budget=" + std::to_string(budget));
    return flags;
  };
  const auto optimizer = [&](uint64_t budget) {
    const nlohmann::json json = planned(within(budget));
    EXPECT_LE(json.at("device_bytes"), budget);
    EXPECT_EQ(json.at("fits"), true);
    return json.at("memory_bytes_device").at("optimizer").get<uint64_t>();
  };
  EXPECT_LT(optimizer(kMiB), optimizer(3 * kMiB / 2));
  EXPECT_LT(optimizer(3 * kMiB / 2), optimizer(4 * kMiB));
  const Outcome small = plan(within(kMiB / 8)), full = plan(within(3 * kMiB / 4));
  EXPECT_EQ(small.exit_code, 6) << small.describe();
  EXPECT_NE(small.err.find("the device budget is 131072 bytes, the smallest that would do is "), std::string::npos)
      << small.err;
  EXPECT_EQ(full.exit_code, 6) << full.describe();
  EXPECT_NE(full.err.find("adapt failed: the device budget is 786432 bytes, of which model and host leave "),
            std::string::npos)
      << full.err;
}

TEST(Plan, SaysThatActivationsDoNotFit) {
  const nlohmann::json roomy = planned({"--plugin=libddp.so", "--train.batch_size=64"});
  const uint64_t budget = roomy.at("device_bytes").get<uint64_t>() - 1;
  const Outcome outcome =
      plan({"--plugin=libddp.so", "--train.batch_size=64", "--device_budget=" + std::to_string(budget), "--json"});
  EXPECT_EQ(outcome.exit_code, 6) << outcome.describe();
  EXPECT_EQ(nlohmann::json::parse(outcome.out).at("fits"), false);
}

TEST(Plan, ListsEveryStrategyAndStage) {
  const nlohmann::json rows = planned({"--nproc=4"});
  std::vector<uint64_t> zero;
  bool has_ddp = false;
  for (const auto& row : rows) {
    EXPECT_TRUE(row.at("refusal").is_null()) << row;
    EXPECT_TRUE(row.at("fits").is_boolean());
    has_ddp = has_ddp || (row.at("strategy") == "libddp.so:ddp" && row.at("stage").is_null());
    if (row.at("strategy") != "libzero.so:zero") continue;
    EXPECT_EQ(row.at("stage"), std::to_string(zero.size() + 1));
    const nlohmann::json& bytes = row.at("memory_bytes");
    zero.push_back(bytes.at("parameters").get<uint64_t>() + bytes.at("gradients").get<uint64_t>() +
                   bytes.at("optimizer").get<uint64_t>());
  }
  EXPECT_TRUE(has_ddp);
  ASSERT_EQ(zero.size(), 3u);
  EXPECT_GT(zero[0], zero[1]);
  EXPECT_GT(zero[1], zero[2]);
}

TEST(Plan, FindsTheLargestBatchThatFits) {
  const std::string budget = "--device_budget=16MiB";
  for (const auto& row : planned({budget})) {
    if (row.at("strategy") != "libddp.so:ddp") continue;
    const int64_t largest = row.at("largest_batch");
    EXPECT_GT(largest, 1);
    const auto exit_code = [&](int64_t rows) {
      return plan({"--plugin=libddp.so", budget, "--train.batch_size=" + std::to_string(rows)}).exit_code;
    };
    EXPECT_EQ(exit_code(largest), 0);
    EXPECT_EQ(exit_code(largest + 1), 6);
    return;
  }
  FAIL() << "libddp.so is not listed";
}

TEST(Plan, ListsWhatIsRefusedWithItsReason) {
  for (const auto& row : planned({"--device_budget=64KiB"})) {
    if (row.at("strategy") != "libddp.so:ddp" && row.at("strategy") != "libzero.so:zero") continue;  // keep all there
    EXPECT_TRUE(row.at("largest_batch").is_null());
    EXPECT_NE(row.at("refusal").get<std::string>().find("65536"), std::string::npos) << row;
  }
}

TEST(Plan, NeedsNoDataWhenTheModelKnowsItsClasses) {
  const std::vector<std::string> absent = {"plan", "--plugin=libddp.so", "--data.path=/no/such/folder"};
  const Outcome without = run_host(absent);
  EXPECT_EQ(without.exit_code, 2) << without.describe();
  EXPECT_NE(without.err.find("num_labels"), std::string::npos) << without.err;
  EXPECT_NE(without.err.find("/no/such/folder"), std::string::npos) << without.err;
  std::vector<std::string> told = absent;
  told.push_back("--model.num_labels=3");
  const Outcome with = run_host(told);
  EXPECT_EQ(with.exit_code, 0) << with.describe();
  EXPECT_NE(with.out.find("planned without data"), std::string::npos) << with.out;
}

TEST(Plan, NeedsNoGpuForARunOnOne) {
  const Outcome outcome = run_host({"plan", "--plugin=libddp.so", "--device=cuda", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.describe();
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json.at("num_parameters"), 85800963);  // the default there is the base size
  EXPECT_TRUE(json.at("fits").is_null());
  const Outcome budget = run_host({"plan", "--plugin=libddp.so", "--device=cuda", "--device_budget=80GiB", "--json"});
  EXPECT_EQ(nlohmann::json::parse(budget.out).at("fits"), true) << budget.describe();
}

TEST(Plan, RefusesWhatARunWouldRefuse) {
  const Outcome outcome = plan({"--plugin=libddp.so", "--nproc=2", "--train.global_batch_size=3"});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.describe();
  EXPECT_NE(outcome.err.find("train.global_batch_size = 3"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace esp::test
