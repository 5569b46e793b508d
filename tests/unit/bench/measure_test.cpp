#include "bench/measure.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "error.hpp"
#include "sample_rows.hpp"
#include "support/scratch.hpp"

namespace esp::bench {
namespace {

using esp::test::Scratch;

std::string step(double ms) { return "{\"step_ms\": " + std::to_string(ms) + ", \"samples\": 8}\n"; }

void write_run(const Scratch& scratch) {
  scratch.write(
      "results.json",
      R"({"plugin": "libddp.so", "train_samples": 64, "train_runtime": 0.5, "train_loss": 0.75, "world_size": 2,
                "batch_size": 4, "global_batch_size": 8, "mfu": null, "model_flops_per_sample": 1e6,
                "peak_allocated_bytes": 1000, "peak_device_bytes": 2000, "exposed_communication_ms": 1.5, "joules_per_step": 6,
                "joules_per_sample": null, "memory_bytes": {"parameters": 300}, "memory_bytes_pinned": {"parameters": 100}})");
  std::string steps = step(100);
  for (int i = 0; i < 7; ++i) steps += step(10 + i % 2);
  scratch.write("metrics.jsonl", steps + "{\"event\": \"eval\", \"step\": 8}\n");
}

TEST(AddRun, LeavesOutWarmUpInTheHonestProtocol) {
  const Scratch scratch;
  write_run(scratch);
  Row row;
  add_run(scratch.path(), 1, BenchOptions{}, row);
  EXPECT_EQ(row.runs[0].warmup, 1u);
  EXPECT_EQ(row.runs[0].step_ms.size(), 7u);
  EXPECT_DOUBLE_EQ(row.median(), 10);
  EXPECT_NEAR(row.samples_per_second(), 1000 * 56 / 73.0, 1e-6);
  EXPECT_DOUBLE_EQ(row.peak_allocated_bytes, 1000);
  EXPECT_DOUBLE_EQ(row.memory_bytes.at("parameters"), 300);
  EXPECT_DOUBLE_EQ(row.memory_bytes_pinned.at("parameters"), 100);
  EXPECT_TRUE(std::isnan(row.mfu));
  EXPECT_DOUBLE_EQ(row.exposed_ms(), 1.5);
  EXPECT_DOUBLE_EQ(row.joules_per_step(), 6);
  EXPECT_TRUE(std::isnan(row.joules_per_sample()));
}

TEST(AddRun, CountsEverythingInTheSeedProtocol) {
  const Scratch scratch;
  write_run(scratch);
  BenchOptions options;
  options.protocol = Protocol::kSeed;
  options.warmup = 0;
  Row row;
  add_run(scratch.path(), 1, options, row);
  EXPECT_EQ(row.runs[0].step_ms.size(), 8u);
  EXPECT_DOUBLE_EQ(row.samples_per_second(), 128);
}

TEST(AddRun, TellsModelFlopsAgainstAKnownPeakOfAllRanks) {
  const Scratch scratch;
  write_run(scratch);
  BenchOptions options;
  options.peak_flops = 1e9;
  Row row;
  add_run(scratch.path(), 1, options, row);
  EXPECT_NEAR(row.mfu, 1e6 * row.samples_per_second() / 2e9, 1e-9);
}

TEST(AddRun, RefusesDamagedFiles) {
  const Scratch scratch;
  Row row;
  EXPECT_THROW(add_run(scratch.path(), 1, BenchOptions{}, row), Error);
  write_run(scratch);
  scratch.write("metrics.jsonl", "{\"step_ms\": \"soon\"}\n");
  EXPECT_THROW(add_run(scratch.path(), 1, BenchOptions{}, row), Error);
  scratch.write("metrics.jsonl", "");
  EXPECT_THROW(add_run(scratch.path(), 1, BenchOptions{}, row), Error);
  scratch.write("results.json", "[]");
  EXPECT_THROW(add_run(scratch.path(), 1, BenchOptions{}, row), Error);
  EXPECT_TRUE(row.runs.empty());
}

TEST(AddExternalRun, TakesTheLastJsonLineWithNumbers) {
  Row row;
  EXPECT_EQ(add_external_run("loading {\n{\"samples_per_second\": 1}\n"
                             "{\"samples_per_second\": 20, \"step_ms\": [5, 6, 7], \"peak_allocated_bytes\": 9, "
                             "\"joules_per_sample\": 0.25}\n"
                             "{\"note\": \"bye\"}\n",
                             1, row),
            "");
  EXPECT_DOUBLE_EQ(row.samples_per_second(), 20);
  EXPECT_DOUBLE_EQ(row.median(), 6);
  EXPECT_DOUBLE_EQ(row.peak_allocated_bytes, 9);
  EXPECT_DOUBLE_EQ(row.joules_per_sample(), 0.25);
  EXPECT_TRUE(std::isnan(row.exposed_ms()));
}

TEST(AddExternalRun, DerivesTheRateFromStepTimeAndBatch) {
  Row row;
  EXPECT_EQ(add_external_run("{\"step_ms_median\": 10, \"global_batch_size\": 32}", 1, row), "");
  EXPECT_DOUBLE_EQ(row.samples_per_second(), 3200);
}

TEST(AddExternalRun, RefusesWhatIsNoMeasurement) {
  const std::string deep(200'000, '[');
  for (const std::string& output :
       {std::string(), std::string("garbage\n"), std::string("{\"samples_per_second\": \"fast\"}"),
        std::string("{\"samples_per_second\": -1}"), std::string("{\"samples_per_second\": 1e999}"),
        "{\"samples_per_second\": 1, \"x\": \"" + std::string(2 << 20, 'x') + "\"}", "{\"a\":" + deep,
        std::string("\xff\xfe{\0}", 5), std::string("{\"samples_per_second\": 1, \"step_ms\": [1, null]}")}) {
    Row row;
    EXPECT_NE(add_external_run(output, 1, row), "") << output.substr(0, 80);
    EXPECT_TRUE(row.runs.empty());
  }
}

TEST(AddExternalRun, KeepsMessagesOnOneLine) {
  Row row;
  EXPECT_EQ(add_external_run("{\"samples_per_second\": 2, \"model\": \"a\\nb\\u001b[31m\"}", 1, row), "");
  EXPECT_EQ(row.model, "a\\u000Ab\\u001B[31m");
}

TEST(Row, SurvivesTheWayThroughItsFile) {
  Row row = test::row_of("libddp.so", 10, 1000);
  row.collectives["all_reduce"] = {3, 400};
  row.mfu = 0.25;
  row.runs[0].exposed_ms = row.runs[1].exposed_ms = 2;
  const std::string line = to_json_line(row);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const Row back = row_from_json(line, "rows.jsonl:1");
  EXPECT_EQ(to_json_line(back), line);
  EXPECT_DOUBLE_EQ(back.exposed_ms(), 2);
}

TEST(Row, DamagedOnDiskIsRefusedWithItsPlace) {
  try {
    row_from_json("{\"id\": 3}", "rows.jsonl:7");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCheckpoint);
    EXPECT_EQ(std::string(error.what()).rfind("rows.jsonl:7", 0), 0u);
  }
}

}  // namespace
}  // namespace esp::bench
