#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "runtime/api.hpp"
#include "supervisor/phase.hpp"
#include "supervisor/rank_link.hpp"
#include "supervisor/ranks.hpp"

namespace esp {
namespace {

class ErrorFile : public testing::Test {
 protected:
  void SetUp() override { setenv("TORCHELASTIC_ERROR_FILE", path_.c_str(), 1); }
  void TearDown() override { std::filesystem::remove(path_); }

  const std::string path_ = testing::TempDir() + "error-" + std::to_string(getpid()) + ".json";
};

TEST_F(ErrorFile, OfTorchrunHoldsMessageAndTimestamp) {
  runtime::RankFacts ranks;
  ranks.launcher = "torchrun";
  EXPECT_FALSE(report_rank_error(ranks, 4, "images \"a\"\nare damaged \xff"));
  const auto json = nlohmann::json::parse(std::ifstream(path_));
  const auto& message = json.at("message");
  EXPECT_EQ(message.at("message").get<std::string>().substr(0, 30), "Error: images \"a\" are damaged ");
  EXPECT_TRUE(message.at("extraInfo").contains("py_callstack"));
  EXPECT_GT(std::stoll(message.at("extraInfo").at("timestamp").get<std::string>()), 1700000000);
}

TEST_F(ErrorFile, IsLeftAloneByOtherLaunchers) {
  runtime::RankFacts ranks;
  ranks.launcher = "slurm";
  EXPECT_FALSE(report_rank_error(ranks, 4, "x"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST(Phase, IsReadBackAsWritten) {
  set_phase("forward_unit of libvit.so", true);
  EXPECT_STREQ(own_phase().load().text, "forward_unit of libvit.so");
  EXPECT_EQ(own_phase().load().in_plugin, 1u);
  set_phase("step 7.", false);
  EXPECT_STREQ(own_phase().load().text, "step 7.");
  EXPECT_EQ(own_phase().load().in_plugin, 0u);
  set_phase("", false);
  EXPECT_STREQ(own_phase().load().text, "");
}

TEST(Phase, OfAnyLengthIsCutAndTerminated) {
  set_phase(std::string(1000, 'x').c_str(), false);
  EXPECT_EQ(std::string(own_phase().load().text), std::string(239, 'x'));
}

TEST(Phase, HasOneNumberForEqualTexts) {
  const uint32_t hook = name_phase("pre_forward of libddp.so:ddp", true);
  const uint32_t other = name_phase("post_forward of libddp.so:ddp", true);
  EXPECT_NE(hook, other);
  EXPECT_EQ(name_phase("pre_forward of libddp.so:ddp", true), hook);
  EXPECT_NE(name_phase("pre_forward of libddp.so:ddp", false), hook);
  current_phase() = other;
  EXPECT_STREQ(own_phase().load().text, "post_forward of libddp.so:ddp");
}

TEST(Phase, OfAnotherThreadIsItsOwn) {
  set_phase("training", false);
  std::thread([] {
    EXPECT_STREQ(phase_of_thread().text, "training") << "of a thread that never said anything";
    set_phase("forward_unit of libvit.so:vit", true);
    EXPECT_STREQ(phase_of_thread().text, "forward_unit of libvit.so:vit");
    EXPECT_STREQ(own_phase().load().text, "forward_unit of libvit.so:vit") << "what a plugin does comes first";
    set_phase("", false);
  }).join();
  EXPECT_STREQ(phase_of_thread().text, "training");
  EXPECT_STREQ(own_phase().load().text, "training");
}

// More threads than places: the last ones share one.
TEST(Phase, OfManyThreadsHurtsNobody) {
  set_phase("training", false);
  for (int i = 0; i < 40; ++i) std::thread([] { set_phase("", false); }).join();
  EXPECT_STREQ(phase_of_thread().text, "training");
}

TEST(Phase, IsWhatItWasOnceAHookIsLeft) {
  const runtime::PhaseBoard board{&name_phase, &current_phase};
  board.enter("training", false);
  const auto before_hook = board.enter(name_phase("pre_forward of libddp.so:ddp", true));
  const auto before_bind = board.enter(name_phase("bind of libvit.so:vit", true));
  EXPECT_STREQ(phase_of_thread().text, "bind of libvit.so:vit");
  before_bind.resume();
  EXPECT_STREQ(phase_of_thread().text, "pre_forward of libddp.so:ddp");
  before_hook.resume();
  EXPECT_STREQ(phase_of_thread().text, "training");
  EXPECT_EQ(phase_of_thread().in_plugin, 0u);
}

TEST(Phase, IsStillToldWhenThereAreMoreTextsThanPlaces) {
  for (int i = 0; i < 200; ++i) set_phase(("text " + std::to_string(i)).c_str(), true);
  EXPECT_STREQ(own_phase().load().text, "text 199");
}

}  // namespace
}  // namespace esp
