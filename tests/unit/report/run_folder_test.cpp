#include "report/run_folder.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "error.hpp"
#include "scratch_folder.hpp"

namespace esp {
namespace {

namespace fs = std::filesystem;

class RunFolders : public testing::Test {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    fs::current_path(scratch_.path());
  }
  void TearDown() override { fs::current_path(before_); }

  // The refusal's code and text.
  static std::pair<ExitCode, std::string> refusal(const std::string& wanted) {
    try {
      create_run_folder(wanted, "ddp", "");
    } catch (const Error& error) {
      return {error.code(), error.what()};
    }
    return {ExitCode::kOk, "accepted"};
  }

  const test::ScratchFolder scratch_;
  fs::path before_;
};

void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

TEST_F(RunFolders, AreNamedByDateAndPluginAndNumberedWhenTheNameIsTaken) {
  RunFolder first = create_run_folder("", "libddp.so", "a = 1\n");
  RunFolder second = create_run_folder("", "libddp.so", "a = 1\n");
  const std::string name = first.path().filename().string();
  EXPECT_EQ(name.substr(10), "-ddp");
  EXPECT_EQ(name.substr(4, 1) + name.substr(7, 1), "--");
  EXPECT_EQ(first.path().parent_path(), fs::current_path() / "out");
  EXPECT_EQ(second.path().filename().string(), name + "-2");
}

TEST_F(RunFolders, HoldTheResolvedConfiguration) {
  const RunFolder folder = create_run_folder("x/y", "ddp", "a = 1\n");
  std::ifstream stream(folder.path() / "config.toml");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), "a = 1\n");
}

TEST_F(RunFolders, MayExistWhenTheyAreEmpty) {
  fs::create_directory("empty");
  EXPECT_EQ(create_run_folder("empty/", "ddp", "").path(), fs::current_path() / "empty");
}

TEST_F(RunFolders, AreRefusedWhenTheyHoldSomething) {
  fs::create_directory("full");
  write("full/thesis.tex", "do not lose this");
  const auto [code, text] = refusal("full");
  EXPECT_EQ(code, ExitCode::kUsage);
  EXPECT_NE(text.find("/full is not empty"), std::string::npos) << text;
  EXPECT_TRUE(fs::exists("full/thesis.tex"));
}

TEST_F(RunFolders, AreRefusedWhenAFileIsInTheWay) {
  write("file", "");
  EXPECT_EQ(refusal("file").first, ExitCode::kUsage);
  EXPECT_NE(refusal("file").second.find("a file is in the way"), std::string::npos);
  EXPECT_EQ(refusal("file/below").first, ExitCode::kUsage) << refusal("file/below").second;
}

TEST_F(RunFolders, ThatCannotBeMadeAreAMatterOfResources) {
  EXPECT_EQ(refusal("/proc/espalier").first, ExitCode::kResource) << refusal("/proc/espalier").second;
  EXPECT_EQ(refusal("/proc/a/b").first, ExitCode::kResource) << refusal("/proc/a/b").second;
}

TEST_F(RunFolders, CannotBeTakenTwice) {
  const RunFolder first = create_run_folder("shared", "ddp", "");
  EXPECT_EQ(refusal("shared").first, ExitCode::kUsage);
  EXPECT_TRUE(fs::exists("shared/config.toml"));
}

TEST_F(RunFolders, GoWhenNothingCameOfTheRun) {
  { create_run_folder("a/b", "ddp", "x = 1\n"); }
  EXPECT_FALSE(fs::exists("a/b"));
}

TEST_F(RunFolders, ThatWereThereBeforeStayEmpty) {
  fs::create_directory("mine");
  { create_run_folder("mine", "ddp", "x = 1\n"); }
  EXPECT_TRUE(fs::is_empty("mine"));
}

TEST_F(RunFolders, StayWithoutTheirLockOnceAStepWasDone) {
  {
    const RunFolder folder = create_run_folder("a", "ddp", "");
    EXPECT_FALSE(folder.has_metrics());
    write(folder.path() / "metrics.jsonl", "{}\n");
    EXPECT_TRUE(folder.has_metrics());
  }
  EXPECT_TRUE(fs::exists("a/config.toml"));
  EXPECT_FALSE(fs::exists("a/.lock"));
}

TEST_F(RunFolders, StayWhenTheyAreToBeKept) {
  { create_run_folder("a", "ddp", "").keep(); }
  EXPECT_TRUE(fs::exists("a/config.toml"));
}

TEST(PluginLabel, IsTheLibrarysOrComponentsName) {
  EXPECT_EQ(plugin_label("libzero.so"), "zero");
  EXPECT_EQ(plugin_label("./x/libzero.so"), "zero");
  EXPECT_EQ(plugin_label("libzero.so:stage3"), "stage3");
  EXPECT_EQ(plugin_label("ddp"), "ddp");
  EXPECT_EQ(plugin_label("my plugin.so"), "my_plugin");
  EXPECT_EQ(plugin_label(""), "run");
}

}  // namespace
}  // namespace esp
