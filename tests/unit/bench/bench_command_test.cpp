// host bench, report and compare through the staged executable, on a model of a few thousand parameters.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "support/host_process.hpp"

namespace esp::test {
namespace {

constexpr const char* kSweep = R"([model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 1
intermediate_size = 16
image_size = 16
patch_size = 8
[data]
synthetic_train = 24
synthetic_validation = 3
[run]
threads = 1
[bench]
steps = 4
[sweep]
"run.plugin" = ["libddp.so", "libnone.so"]
"train.batch_size" = [4, 8]
)";

std::vector<nlohmann::json> rows_in(const std::filesystem::path& folder) {
  std::vector<nlohmann::json> rows;
  std::istringstream lines(read_file(folder / "rows.jsonl"));
  for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class BenchCommand : public testing::Test {
 protected:
  Outcome host(const std::vector<std::string>& arguments) {
    HostOptions options;
    options.folder = scratch_.path().string();
    return run_host(arguments, 80, options);
  }
  Scratch scratch_;
};

TEST_F(BenchCommand, MakesRowsOfCasesAndOfRefusalsAndPrintsThemAgain) {
  scratch_.write("small.toml", kSweep);
  const Outcome first = host({"bench", "small.toml", "--budget=1GiB"});
  ASSERT_EQ(first.exit_code, 0) << first.describe();
  const auto folder = scratch_.path() / "out" / "small";
  const auto rows = rows_in(folder);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["status"], "done");
  EXPECT_EQ(rows[1]["global_batch_size"], 8);
  EXPECT_GT(rows[1]["samples_per_second"], 0);
  EXPECT_GT(rows[1]["memory_bytes"]["parameters"], 0);
  EXPECT_EQ(rows[2]["status"], "refused");
  EXPECT_EQ(rows[3]["exit_code"], 3);
  EXPECT_TRUE(has(rows[3]["reason"], "L01 libnone.so: not found")) << rows[3];
  for (const char* file : {"table.md", "table.csv", "report.html"}) EXPECT_NE(read_file(folder / file), "") << file;

  const Outcome second = host({"bench", "small.toml", "--budget=1GiB"});
  EXPECT_EQ(second.exit_code, 0) << second.describe();
  EXPECT_FALSE(has(second.err, ": runs")) << second.err;
  EXPECT_EQ(second.out, first.out);

  const Outcome compared = host({"compare", "out/small", "out/small"});
  EXPECT_EQ(compared.exit_code, 0) << compared.describe();
  EXPECT_TRUE(has(compared.out, "equal within noise"));

  std::filesystem::remove(folder / "report.html");
  EXPECT_EQ(host({"report", "out/small"}).exit_code, 0);
  EXPECT_NE(read_file(folder / "report.html"), "");

  // A single run of the sweep is a run like any other.
  const std::string run = (folder / "runs" / rows[0]["id"].get<std::string>() / "1").string();
  EXPECT_TRUE(has(read_file(run + "/report.html"), "training loss"));
  EXPECT_EQ(host({"report", run}).exit_code, 0);
  EXPECT_EQ(host({"compare", run, run}).exit_code, 0);
}

// kSweep without its [sweep], and another.
std::string sweep_over(const std::string& keys) {
  const std::string all = kSweep;
  return all.substr(0, all.find("[sweep]")) + "[sweep]\n" + keys;
}

TEST_F(BenchCommand, MakesTenRowsOfFourLibrariesAndOneThatDoesNotExist) {
  scratch_.write("all.toml", sweep_over("\"train.batch_size\" = [4, 8]\n\"run.plugin\" = [\"libddp.so\", "
                                        "\"libddp_fp16.so\", \"libzero.so\", \"libgemini.so\", \"libnone.so\"]\n"));
  const Outcome first = host({"bench", "all.toml", "--bench.steps=2"});
  ASSERT_EQ(first.exit_code, 0) << first.describe();
  const auto rows = rows_in(scratch_.path() / "out" / "all");
  ASSERT_EQ(rows.size(), 10u);
  size_t done = 0, refused = 0;
  for (const nlohmann::json& row : rows) {
    if (row.at("status") == "refused") {
      ++refused;
      EXPECT_TRUE(has(row.at("reason"), "libnone.so")) << row;
      continue;
    }
    ++done;
    EXPECT_EQ(row.at("status"), "done") << row;
    EXPECT_GT(row.at("samples_per_second"), 0) << row;
    EXPECT_GT(row.at("memory_bytes").at("optimizer"), 0) << row;
  }
  EXPECT_EQ(done, 8u);
  EXPECT_EQ(refused, 2u);

  const Outcome second = host({"bench", "all.toml", "--bench.steps=2"});
  EXPECT_EQ(second.exit_code, 0) << second.describe();
  EXPECT_FALSE(has(second.err, ": runs")) << second.err;
  EXPECT_EQ(second.out, first.out);
}

TEST_F(BenchCommand, SweepsOptionsOfTheModelAndOfOneStrategy) {
  scratch_.write("options.toml",
                 sweep_over("\"run.plugin\" = [\"libzero.so\"]\n\"model.patch_size\" = [4, 8]\n"
                            "\"strategy.offload\" = [\"none\", \"optimizer\"]\n\"train.batch_size\" = [4]\n"));
  const Outcome outcome = host({"bench", "options.toml", "--bench.steps=2"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.describe();
  const auto rows = rows_in(scratch_.path() / "out" / "options");
  ASSERT_EQ(rows.size(), 4u);
  for (const nlohmann::json& row : rows) EXPECT_EQ(row.at("status"), "done") << row;
}

TEST_F(BenchCommand, CountsWhatRanksSendInAStep) {
  scratch_.write("ranks.toml", sweep_over("run.plugin = [\"libddp.so\"]\n\"run.nproc\" = [1, 2]\n"
                                          "\"train.batch_size\" = [4]\n"));
  const Outcome outcome = host({"bench", "ranks.toml"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.describe();
  const auto rows = rows_in(scratch_.path() / "out" / "ranks");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["collectives_per_step"]["all_reduce"]["bytes"], 0);
  EXPECT_EQ(rows[1]["world_size"], 2);
  // Every gradient once, in fp32, which takes what the gradients take; and a few numbers for their norm.
  const double bytes = rows[1]["collectives_per_step"]["all_reduce"]["bytes"];
  const double gradients = rows[1]["memory_bytes"]["gradients"];
  EXPECT_GE(bytes, gradients) << rows[1];
  EXPECT_LE(bytes, gradients + 64) << rows[1];
  EXPECT_EQ(rows[0]["exposed_communication_ms"], 0);
  EXPECT_GT(rows[1]["exposed_communication_ms"], 0);  // the sum of losses at least
  EXPECT_TRUE(rows[1]["joules_per_sample"].is_null());
}

TEST_F(BenchCommand, RefusesFaultsOfTheFileBeforeAnythingStarts) {
  const auto message = [&](const std::string& extra) {
    scratch_.write("bad.toml", std::string(kSweep) + extra);
    const Outcome outcome = host({"bench", "bad.toml"});
    EXPECT_EQ(outcome.exit_code, 2) << outcome.describe();
    EXPECT_FALSE(has(outcome.err, ": runs"));
    return outcome.err;
  };
  EXPECT_TRUE(has(message("\"train.lr\" = [1]\n"), "bad.toml:18:1: train.lr is not a key of [train]"));
  EXPECT_TRUE(has(message("\"model.num_labels\" = [3]\n"),
                  "bad.toml:18:1: model.num_labels cannot be swept: libvit.so does not declare it sweepable"));
  EXPECT_TRUE(has(message("\"train.precision\" = [\"fp31\"]\n"), "bad.toml:18:1"));
}

TEST_F(BenchCommand, TakesForItsFolderNoneThatHoldsSomethingElse) {
  scratch_.write("small.toml", kSweep);
  scratch_.write("mine/notes.txt", "keep");
  const Outcome outcome = host({"bench", "small.toml", "--out=mine"});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.describe();
  EXPECT_TRUE(has(outcome.err, "is not empty and holds no sweep"));
}

TEST_F(BenchCommand, SaysWhenThereIsNothingToCompareOrReport) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"compare", "a", "b"}, std::vector<std::string>{"report", "a"}}) {
    const Outcome outcome = host(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.describe();
    EXPECT_TRUE(has(outcome.err, "holds neither a sweep"));
  }
}

TEST_F(BenchCommand, KeepsFinishedRowsWhenInterrupted) {
  scratch_.write("two.toml",
                 std::string(kSweep) + "[[sweep.external]]\nname = \"sleeper\"\ncommand = [\"sleep\", \"100\"]\n");
  HostOptions options;
  options.folder = scratch_.path().string();
  HostProcess process({"bench", "two.toml"}, options);
  ASSERT_TRUE(eventually(60, [&] { return has(process.err(), "sleeper: runs"); }));
  process.signal(SIGINT);
  const Outcome outcome = process.wait(30);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.describe();
  EXPECT_EQ(rows_in(scratch_.path() / "out" / "two").size(), 4u);
  EXPECT_TRUE(process.descendants().empty());
}

}  // namespace
}  // namespace esp::test
