#include "modules/text.hpp"

#include <gtest/gtest.h>

namespace esp {
namespace {

TEST(PlainText, IsUtf8WithoutControlCharacters) {
  EXPECT_TRUE(is_plain_text(""));
  EXPECT_TRUE(is_plain_text("héllo, 世界 🌱"));
  EXPECT_FALSE(is_plain_text("two\nlines"));
  EXPECT_FALSE(is_plain_text("\x1b[31m"));
  EXPECT_FALSE(is_plain_text("\x7f"));
  EXPECT_FALSE(is_plain_text("\xc2\x9b"));  // a one-character CSI
}

TEST(PlainText, RefusesMalformedSequences) {
  for (const char* bad : {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xe4\xb8", "caf\xe9", "\xff"}) {
    EXPECT_FALSE(is_plain_text(bad));
  }
}

TEST(PlainText, IsWhatOneLineMakes) {
  EXPECT_EQ(one_line("tab\tand\n世\xc2\x9b."), "tab?and?世?.");
  EXPECT_EQ(one_line("caf\xe9 and 世"), "caf? and ???");
  EXPECT_TRUE(is_plain_text(one_line("\x1b\xff\x9b\n")));
}

TEST(BoundedText, IsCutAtItsLimit) {
  EXPECT_EQ(bounded("abcdef", 3), "abc");
  EXPECT_EQ(bounded("ab", 3), "ab");
}

}  // namespace
}  // namespace esp
