#include "config/value_text.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace esp {
namespace {

TEST(ValueText, SizesTakeUnits) {
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("25MiB"), 25u << 20);
  EXPECT_EQ(parse_bytes("1.5 GiB"), 3ull << 29);
  EXPECT_EQ(parse_bytes("2GB"), 2000000000u);
  EXPECT_EQ(parse_bytes("18446744073709551615B"), 18446744073709551615ull);
  for (const char* bad :
       {"", "MiB", "-1", "1.5.5GiB", "10 parsecs", "18446744073709551616", "99999999TiB", "1e3", "4 mib", "nan"}) {
    EXPECT_EQ(parse_bytes(bad), std::nullopt) << bad;
  }
}

TEST(ValueText, DurationsTakeUnits) {
  EXPECT_EQ(parse_duration("2.5"), 2.5);
  EXPECT_EQ(parse_duration("90s"), 90.0);
  EXPECT_EQ(parse_duration("5min"), 300.0);
  EXPECT_EQ(parse_duration("2 h"), 7200.0);
  EXPECT_EQ(parse_duration("250ms"), 0.25);
  for (const char* bad : {"", "s", "-1s", "5 minutes", "inf", "nan"})
    EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
}

TEST(ValueText, NumbersAreReadWholeOrNotAtAll) {
  EXPECT_EQ(parse_integer("+12"), 12);
  EXPECT_EQ(parse_integer("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  for (const char* bad : {"", "1.5", "1e3", "12x", "9223372036854775808", "+-1", "0x10", "--1"}) {
    EXPECT_EQ(parse_integer(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(parse_number("5e-5"), 5e-5);
  EXPECT_EQ(parse_number("3"), 3.0);
  for (const char* bad : {"", "nan", "1,5", "5e-", "x"}) EXPECT_EQ(parse_number(bad), std::nullopt) << bad;
  EXPECT_TRUE(std::isinf(*parse_number("1e999")));
}

TEST(ValueText, NumbersReadBackEqual) {
  for (const double value : {0.1, 5e-5, 1e-8, 1e300, 3.0, 0.0, -2.5, 1.0 / 3.0}) {
    const std::string text = number_text(value);
    EXPECT_EQ(parse_number(text), value) << text;
    EXPECT_NE(text.find_first_of(".e"), std::string::npos) << text << " would be an integer in TOML";
  }
}

TEST(ValueText, SizesAreWrittenWithTheLargestExactUnit) {
  EXPECT_EQ(bytes_text(25u << 20), "25MiB");
  EXPECT_EQ(bytes_text(1000), "1000B");
  EXPECT_EQ(bytes_text(0), "0B");
  EXPECT_EQ(bytes_text(1536), "1536B");
  EXPECT_EQ(bytes_text(1ull << 40), "1TiB");
}

TEST(ValueText, ListsOfFlagsMayHaveBracketsAndQuotes) {
  const std::vector<std::string> expected{"a", "b.*"};
  EXPECT_EQ(split_list("a,b.*"), expected);
  EXPECT_EQ(split_list(" [a, \"b.*\"] "), expected);
  EXPECT_TRUE(split_list("[]").empty());
}

TEST(ValueText, Utf8IsTold) {
  EXPECT_TRUE(is_utf8("gr\xc3\xbcn \xe2\x82\xac \xf0\x9f\x8c\xb1"));
  for (const char* bad : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"})
    EXPECT_FALSE(is_utf8(bad));
}

TEST(ValueText, MessagesStayOneLine) {
  EXPECT_EQ(printable("a\nb\x1b[2J"), "a\\u000Ab\\u001B[2J");
  const std::string cut = shown({std::string(1000, 'x'), true, {}});
  EXPECT_LT(cut.size(), 70u);
}

}  // namespace
}  // namespace esp
