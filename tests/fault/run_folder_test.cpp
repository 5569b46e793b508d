// What a run leaves behind is complete, and can be used: by host eval, host export and as a configuration.
#include "support/run_folder.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fault_run.hpp"

namespace esp::test {
namespace {

const std::string kImages = std::string(ESPALIER_TESTS) + "/parity/data/images";

Outcome train(const Scratch& scratch, int nproc) {
  return run_host(long_run(scratch, nproc, {"--train.max_steps=8", "--train.eval_every=1", "--optimizer.lr=1e-3"}));
}

std::string score(const std::string& weights) {
  const Outcome outcome = run_host({"eval", "--device=cpu", "--threads=1", "--model.weights=" + weights,
                                    "--data.path=" + kImages, "--data.split=validation"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.describe();
  return outcome.out;
}

TEST(RunFolder, HoldsEverythingPromised) {
  const Scratch scratch;
  const Outcome outcome = train(scratch, 2);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.describe();
  const RunFolder run = read_run(scratch / "out");
  for (const char* key : {"plugin",
                          "model",
                          "device",
                          "precision",
                          "batch_size",
                          "world_size",
                          "train_loss",
                          "train_runtime",
                          "train_samples_per_second",
                          "step_ms_median",
                          "step_ms_p5",
                          "step_ms_p95",
                          "eval_loss",
                          "eval_accuracy",
                          "eval_correct",
                          "eval_samples",
                          "peak_allocated_bytes",
                          "peak_device_bytes",
                          "memory_bytes",
                          "mfu"}) {
    EXPECT_TRUE(run.results.contains(key)) << "results.json lacks " << key;
  }
  ASSERT_EQ(run.steps.size(), 8u);
  for (const char* key : {"step", "epoch", "loss", "lr", "grad_norm", "samples_per_second"}) {
    EXPECT_TRUE(run.steps.front().contains(key)) << "metrics.jsonl lacks " << key;
  }
  EXPECT_EQ(run.results.at("world_size"), 2);
  EXPECT_EQ(run.results.at("eval_samples"), 10);
  EXPECT_GT(run.results.at("memory_bytes").at("parameters"), 0);
  for (const char* file :
       {"config.toml", "model/config.json", "model/model.safetensors", "model/preprocessor_config.json"}) {
    EXPECT_GT(read_file(run.path / file).size(), 0u) << file;
  }
}

TEST(RunFolder, ModelScoresAsTheRunSaid) {
  const Scratch scratch;
  const Outcome outcome = train(scratch, 2);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.describe();
  const RunFolder run = read_run(scratch / "out");
  const std::string expected = run.results.at("eval_correct").dump() + "/10 ";
  const std::string out = score(scratch / "out/model");
  EXPECT_NE(out.find(expected), std::string::npos) << "no \"" << expected << "\" in\n" << out;
}

TEST(RunFolder, ExportGivesTheSameModel) {
  const Scratch scratch;
  const Outcome outcome = train(scratch, 1);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.describe();
  const Outcome exported = run_host({"export", scratch / "out", "--to=" + (scratch / "hf")});
  ASSERT_EQ(exported.exit_code, 0) << exported.describe();
  EXPECT_TRUE(read_file(scratch.path() / "hf/model.safetensors") ==
              read_file(scratch.path() / "out/model/model.safetensors"));
  EXPECT_EQ(score(scratch / "hf"), score(scratch / "out/model"));
}

// The resolved configuration is a configuration: the same run again, bit for bit.
TEST(RunFolder, ConfigRepeatsTheRun) {
  const Scratch scratch;
  const Outcome outcome = train(scratch, 2);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.describe();
  const Outcome again = run_host({"run", "-c", scratch / "out/config.toml", "--out=" + (scratch / "again")});
  ASSERT_EQ(again.exit_code, 0) << again.describe();
  EXPECT_TRUE(read_file(scratch.path() / "out/model/model.safetensors") ==
              read_file(scratch.path() / "again/model/model.safetensors"));
}

}  // namespace
}  // namespace esp::test
