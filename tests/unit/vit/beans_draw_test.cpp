// The program draw_leaves: what it writes is what the drawn dataset holds, and it never overwrites anything else.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "beans/sample_source.hpp"
#include "beans_fixture.hpp"

namespace esp::vit::test {
namespace {

namespace fs = std::filesystem;

// Exit code; output goes to <folder>/log.
int draw(const ScratchFolder& folder, const std::string& arguments) {
  const std::string command = std::string(DRAW_LEAVES) + " " + arguments + " > " + (folder / "log") + " 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string log_of(const ScratchFolder& folder) { return read_file(folder / "log"); }

TEST(DrawLeaves, WritesWhatTheDrawnDatasetHolds) {
  const ScratchFolder folder;
  ASSERT_EQ(draw(folder, folder / "set" + " --train 7 --validation=4 --test 0"), 0) << log_of(folder);
  const auto written = open_source(folder / "set", {}), drawn = open_source("", {7, 4, 0});
  ASSERT_EQ(written->catalog().splits.size(), 2u);
  EXPECT_EQ(written->catalog().classes, drawn->catalog().classes);
  EXPECT_TRUE(written->catalog().notes.empty());
  for (size_t split = 0; split < 2; ++split) {
    const auto &a = written->catalog().splits[split].samples, &b = drawn->catalog().splits[split].samples;
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      std::vector<uint8_t> from_file, from_drawing;
      written->read(split, i, from_file);
      drawn->read(split, i, from_drawing);
      EXPECT_EQ(a[i].name, b[i].name);
      EXPECT_EQ(from_file, from_drawing) << a[i].name;
    }
  }
}

TEST(DrawLeaves, CompletesTheSameSetAndTouchesNothingElseOfIt) {
  const ScratchFolder folder;
  const std::string arguments = folder / "set" + " --train 6 --validation 3 --test 3";
  ASSERT_EQ(draw(folder, arguments), 0) << log_of(folder);
  const std::string kept = folder / "set/train/healthy/healthy_train.0.jpg",
                    lost = folder / "set/train/healthy/healthy_train.1.jpg";
  const auto written = fs::last_write_time(kept);
  const std::string before = read_file(lost);
  ASSERT_EQ(draw(folder, arguments), 0);
  EXPECT_NE(log_of(folder).find(": 0 leaves drawn"), std::string::npos) << log_of(folder);
  fs::remove(lost);
  ASSERT_EQ(draw(folder, arguments), 0);
  EXPECT_NE(log_of(folder).find(": 1 leaves drawn"), std::string::npos) << log_of(folder);
  EXPECT_EQ(read_file(lost), before);
  EXPECT_EQ(fs::last_write_time(kept), written);
}

TEST(DrawLeaves, RefusesAFolderWithAnythingElse) {
  const ScratchFolder folder;
  put_file(folder / "mine/photo.jpg", "mine");
  EXPECT_EQ(draw(folder, folder / "mine"), 1);
  EXPECT_NE(log_of(folder).find("is not empty"), std::string::npos) << log_of(folder);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "mine"), {}), 1);
  ASSERT_EQ(draw(folder, folder / "set" + " --train 3 --validation 0 --test 0"), 0);
  EXPECT_EQ(draw(folder, folder / "set" + " --train 3 --validation 0 --test 0 --seed 5"), 1);
  EXPECT_NE(log_of(folder).find("holds another set"), std::string::npos) << log_of(folder);
}

TEST(DrawLeaves, RefusesWrongArguments) {
  const ScratchFolder folder;
  for (const char* arguments :
       {"", " --train", " --train x", " --train -1", " --leaves 3", " again", " --train 99999999999"}) {
    const std::string set = std::string(arguments).empty() ? "" : folder / "set";
    EXPECT_EQ(draw(folder, set + arguments), 2) << arguments;
    EXPECT_FALSE(fs::exists(folder / "set"));
  }
}

}  // namespace
}  // namespace esp::vit::test
