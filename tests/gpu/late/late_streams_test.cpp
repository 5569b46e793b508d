// Streams that come late change no bit of a training: what must wait waits. Real runs of the staged host, one process
// and two ranks.
#include <gtest/gtest.h>

#include <memory>

#include "driver_gpus.hpp"
#include "need.hpp"
#include "support/host_process.hpp"
#include "support/run_folder.hpp"

namespace esp::test {
namespace {

struct Strategy {
  const char* name;
  std::vector<std::string> arguments;
};

const std::vector<Strategy> kStrategies{
    {"ddp", {"--plugin=libddp.so"}},
    {"ddp_fp16", {"--plugin=libddp_fp16.so", "--train.precision=fp16", "--strategy.initial_scale_power=10"}},
    {"zero1", {"--plugin=libzero.so", "--strategy.stage=1"}},
    {"zero2", {"--plugin=libzero.so", "--strategy.stage=2"}},
    {"zero2_offload", {"--plugin=libzero.so", "--strategy.stage=2", "--strategy.offload=optimizer"}},
    {"zero3", {"--plugin=libzero.so", "--strategy.stage=3"}},
    {"gemini", {"--plugin=libgemini.so"}},
    {"gemini_half", {"--plugin=libgemini.so", "--strategy.parameter_offload=0.5", "--strategy.optimizer_offload=0.5"}},
    {"gemini_offloaded",
     {"--plugin=libgemini.so", "--strategy.parameter_offload=1", "--strategy.optimizer_offload=1"}}};

// One run under way.
class Training {
 public:
  Training(const Scratch& scratch, const Strategy& strategy, int ranks, const std::string& late)
      : what_(std::to_string(ranks) + " ranks, late: " + (late.empty() ? "none" : late)), folder_(scratch / what_) {
    std::vector<std::string> arguments{"run",
                                       "--device=" ESPALIER_TEST_DEVICE,
                                       "--nproc=" + std::to_string(ranks),
                                       "--run.threads=1",
                                       "--run.out=" + folder_,
                                       "--model.hidden_size=96",
                                       "--model.num_hidden_layers=3",
                                       "--model.num_attention_heads=3",
                                       "--model.intermediate_size=200",
                                       "--model.image_size=48",
                                       "--train.max_steps=6",
                                       "--train.global_batch_size=4",
                                       "--train.eval_every=0",
                                       "--train.clip_norm=1",
                                       "--train.deterministic=true"};
    if (std::string(strategy.name) != "ddp_fp16") arguments.push_back("--train.precision=fp32");
    arguments.insert(arguments.end(), strategy.arguments.begin(), strategy.arguments.end());
    HostOptions options;
    options.environment = {{"ESPALIER_LATE_STREAMS", late}, {"CUDA_VISIBLE_DEVICES", "0"}};
    process_ = std::make_unique<HostProcess>(arguments, options);
  }

  // Losses and norms as written, then the bytes of the trained weights.
  std::vector<std::string> results() {
    const Outcome outcome = process_->wait(150);
    EXPECT_EQ(outcome.exit_code, 0) << what_ << ": " << outcome.describe();
    if (outcome.exit_code != 0) return {};
    const RunFolder run = read_run(folder_);
    std::vector<std::string> values;
    for (const std::string& line : run.lines) {
      for (const char* key : {"loss", "grad_norm"}) values.push_back(raw_value(line, key));
    }
    EXPECT_EQ(run.steps.size(), 6u);
    values.push_back(read_file(run.path / "model/model.safetensors"));
    EXPECT_FALSE(values.back().empty());
    return values;
  }
  const std::string& what() const { return what_; }

 private:
  std::string what_, folder_;
  std::unique_ptr<HostProcess> process_;
};

class LateStreams : public ::testing::TestWithParam<Strategy> {
 protected:
  void SetUp() override {
    const bool on_gpu = std::string(ESPALIER_TEST_DEVICE) == "cuda";
    ESPALIER_NEED(on_gpu ? gpus_missing_in_driver(1) : "");
  }
};

TEST_P(LateStreams, ChangeNoBit) {
  for (int ranks : {1, 2}) {
    const Scratch scratch;
    Training on_time(scratch, GetParam(), ranks, "");
    Training side(scratch, GetParam(), ranks, "side:3"), compute(scratch, GetParam(), ranks, "compute:3");
    const auto want = on_time.results();
    for (Training* late : {&side, &compute}) {
      const auto have = late->results();
      ASSERT_EQ(have.size(), want.size()) << late->what();
      for (size_t i = 0; i + 1 < want.size(); ++i) {
        EXPECT_EQ(have[i], want[i]) << late->what() << ", step " << i / 2 + 1;
      }
      EXPECT_TRUE(have.back() == want.back()) << late->what() << ": trained weights differ";
    }
  }
}

std::string name_of(const ::testing::TestParamInfo<Strategy>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Of, LateStreams, ::testing::ValuesIn(kStrategies), name_of);

}  // namespace
}  // namespace esp::test
