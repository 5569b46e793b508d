#include "report/console.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "report/epoch_table.hpp"
#include "report/evaluation_table.hpp"
#include "report/progress_bar.hpp"
#include "report/table.hpp"

namespace esp {
namespace {

class Ascii : public testing::Test {
 protected:
  void SetUp() override { setenv("LC_ALL", "C", 1); }
  void TearDown() override { unsetenv("LC_ALL"); }
};
using EpochRows = Ascii;
using Tables = Ascii;

runtime::EpochReport epoch() {
  runtime::EpochReport report;
  report.epoch = 1;
  report.train_loss = 1.16071;
  report.seconds = 12.34;
  report.samples_per_second = 83.8;
  report.evaluation = runtime::Evaluation{"validation", 0.87654, 98, 133, {}, {}};
  return report;
}

TEST_F(EpochRows, CarryTheHeaderOnce) {
  EpochTable table;
  const std::string row = "    1 |     1.1607 |    0.8765 |   98/133 (73.7 %) |     12.3 |      83.8\n";
  EXPECT_EQ(table.next(epoch()),
            "epoch | train loss | eval loss |          accuracy |  seconds | samples/s\n"
            "------+------------+-----------+-------------------+----------+----------\n" +
                row);
  EXPECT_EQ(table.next(epoch()), row);
}

TEST_F(EpochRows, LeaveOutWhatWasNotEvaluated) {
  EpochTable table;
  auto report = epoch();
  report.evaluation.reset();
  EXPECT_NE(table.next(report).find("1.1607 |           |                   |     12.3"), std::string::npos);
}

TEST_F(Tables, AlignTheirValues) {
  KeyValueTable table;
  table.add("plugin", "libddp.so");
  table.add("train loss", "0.5");
  std::ostringstream out;
  table.print(out);
  EXPECT_EQ(out.str(),
            "----------------------\n"
            "plugin     | libddp.so\n"
            "train loss | 0.5\n"
            "----------------------\n");
}

TEST_F(Tables, OfAnEvaluationCountPerClass) {
  runtime::StartReport start;
  start.classes = {"angular_leaf_spot", "bean_rust"};
  std::ostringstream out;
  print_evaluation(out, start, {"test", 0.25, 3, 4, {2, 1}, {2, 2}});
  EXPECT_NE(out.str().find("accuracy            | 3/4 (75.0 %)"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("  bean_rust         | 1/2 (50.0 %)"), std::string::npos) << out.str();
}

TEST(TextWidth, CountsCharactersNotBytes) { EXPECT_EQ(text_width("─│a"), 3u); }

TEST(Locale, DecidesWhetherLinesAreUnicode) {
  setenv("LC_ALL", "de_DE.UTF-8", 1);
  EXPECT_TRUE(locale_is_utf8());
  setenv("LC_ALL", "C", 1);
  EXPECT_FALSE(locale_is_utf8());
  unsetenv("LC_ALL");
}

TEST(BarText, FillsInProportion) {
  EXPECT_EQ(bar_text(0, 12, false), "[..........]");
  EXPECT_EQ(bar_text(0.5, 12, false), "[#####.....]");
  EXPECT_EQ(bar_text(1, 12, false), "[##########]");
  EXPECT_EQ(bar_text(7, 12, false), "[##########]");
  EXPECT_EQ(bar_text(0.3, 12, true), "[███░░░░░░░]");
  EXPECT_EQ(bar_text(0.3, 2, true), "");
}

TEST(Progress, IsAPlainLineWhereStderrIsNoTerminal) {
  testing::internal::CaptureStderr();
  Console console;
  ASSERT_FALSE(console.has_bar());
  ProgressBar bar(console);
  runtime::StartReport start;
  start.epochs = 3;
  start.total_steps = 99;
  bar.start(start);
  runtime::StepReport step;
  step.step = 33;
  step.epoch = 1;
  step.loss = 0.75;
  step.lr = 5e-5;
  step.samples = 32;
  step.step_ms = 100;
  bar.step(step);
  step.step = 34;
  bar.step(step);  // too soon after the last line
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "step 33/99  epoch 1.00/3  loss 0.7500  lr 5.00e-05  320.0 samples/s  0:07 left\n");
}

}  // namespace
}  // namespace esp
