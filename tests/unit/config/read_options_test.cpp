#include <gtest/gtest.h>

#include "config/resolve.hpp"
#include "test_options.hpp"

namespace esp {
namespace {

using testing::from_file;
using testing::from_flag;

class ReadOptions : public ::testing::Test {
 protected:
  esp_value read(const esp_option& option, const Setting& setting) {
    const esp_option* list[] = {&option};
    sets_.push_back(read_options({{std::string("strategy.") + option.key, setting}}, "strategy", list));
    return sets_.back().values()[0];
  }

  testing::EveryType options_;
  std::vector<OptionSet> sets_;
};

TEST_F(ReadOptions, FillsInDefaultsInTheOrderOfTheOptions) {
  const OptionSet set = read_options({}, "strategy", options_.list);
  const auto values = set.values();
  ASSERT_EQ(values.size(), options_.list.size());
  EXPECT_EQ(values[0].v.i, 1);
  EXPECT_EQ(values[1].v.i, 4);
  EXPECT_EQ(values[2].v.f, 0.1);
  EXPECT_STREQ(values[4].v.s, "one");
  EXPECT_EQ(values[5].v.u, 25u << 20);
  EXPECT_EQ(values[7].type, 0u) << "no default: absent";
  EXPECT_EQ(static_cast<const int64_t*>(values[8].v.list)[1], 7);
  EXPECT_STREQ(static_cast<const char* const*>(values[10].v.list)[0], "head.*");
}

TEST_F(ReadOptions, ReadsFlagsByTheOptionsType) {
  EXPECT_EQ(read(options_.bool_, from_flag("--x", "false")).v.i, 0);
  EXPECT_EQ(read(options_.i64, from_flag("--x", "8")).v.i, 8);
  EXPECT_EQ(read(options_.f64, from_flag("--x", "2")).v.f, 2.0);
  EXPECT_STREQ(read(options_.text, from_flag("--x", "12")).v.s, "12");
  EXPECT_EQ(read(options_.size, from_flag("--x", "1KiB")).v.u, 1024u);
  EXPECT_EQ(read(options_.time, from_flag("--x", "5min")).v.f, 300.0);
  const esp_value numbers = read(options_.numbers, from_flag("--x", "1,2.5"));
  ASSERT_EQ(numbers.n, 2u);
  EXPECT_EQ(static_cast<const double*>(numbers.v.list)[1], 2.5);
  EXPECT_EQ(read(options_.texts, from_flag("--x", "[]")).n, 0u);
}

TEST_F(ReadOptions, ReadsValuesOfFiles) {
  EXPECT_EQ(read(options_.f64, from_file(int64_t{3})).v.f, 3.0);
  EXPECT_EQ(read(options_.size, from_file(int64_t{4096})).v.u, 4096u);
  EXPECT_EQ(read(options_.time, from_file(std::string("90s"))).v.f, 90.0);
  EXPECT_EQ(read(options_.time, from_file(2.5)).v.f, 2.5);
  const esp_value ids = read(options_.integers, from_file(std::vector<Scalar>{int64_t{4}, int64_t{-5}}));
  EXPECT_EQ(static_cast<const int64_t*>(ids.v.list)[1], -5);
}

TEST_F(ReadOptions, MakesPathsAbsoluteFromWhereTheyWereWritten) {
  EXPECT_STREQ(read(options_.path, from_file(std::string("beans"))).v.s, "/folder/beans");
  EXPECT_STREQ(read(options_.path, from_flag("--x", "../beans")).v.s, "/beans");
  EXPECT_STREQ(read(options_.path, from_file(std::string("/data/beans"))).v.s, "/data/beans");
  EXPECT_STREQ(read(options_.path, from_file(std::string())).v.s, "") << "as a default that says: none";
  options_.path.flags |= ESP_OPT_OR_NAME;
  EXPECT_STREQ(read(options_.path, from_file(std::string("google/vit"))).v.s, "google/vit") << "nothing is there";
  EXPECT_STREQ(read(options_.path, from_file(std::string("../usr"))).v.s, "/usr");
}

TEST_F(ReadOptions, TellsAllThatIsWrong) {
  const Settings settings{{"strategy.stage", from_file(int64_t{9}, 4)},
                          {"strategy.mode", from_file(std::string("four"), 2)}};
  EXPECT_EQ(testing::usage_error([&] { read_options(settings, "strategy", options_.list); }),
            "run.toml:2:1: strategy.mode = \"four\" is not one of one, two, three\n"
            "run.toml:4:1: strategy.stage = 9 is too large; an integer from 1 to 8 is expected");
}

TEST_F(ReadOptions, ValuesStayWhereTheyAreWhenTheSetMoves) {
  OptionSet set = read_options({}, "strategy", options_.list);
  const esp_value before = set.values()[3];
  const OptionSet moved = std::move(set);
  EXPECT_EQ(moved.values()[3].v.s, before.v.s);
  EXPECT_STREQ(moved.values()[3].v.s, "a \"quoted\" \\ text");
}

TEST_F(ReadOptions, ANulCharacterWouldCutTheTextAndIsRefused) {
  const Settings settings{{"strategy.label", from_file(std::string("a\0b", 3))}};
  EXPECT_EQ(testing::usage_error([&] { read_options(settings, "strategy", options_.list); }),
            "run.toml:3:1: strategy.label = \"a\\u0000b\" contains a NUL character; text is expected");
}

}  // namespace
}  // namespace esp
