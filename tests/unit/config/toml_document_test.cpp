#include "config/toml_document.hpp"

#include <gtest/gtest.h>

#include <random>

#include "error.hpp"

namespace esp {
namespace {

Settings parse(std::string_view text) { return parse_toml(text, "f.toml", "/folder"); }

std::string error_of(std::string_view text) {
  try {
    parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "no error";
}

std::string repeated(const std::string& part, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += part;
  return text;
}

TEST(TomlDocument, TablesBecomeDottedKeysWithTheirPlaces) {
  const Settings settings =
      parse("[train]\nbatch_size = 32\noptimizer.lr = 1e-3\n\n[data]\n  path = \"beans\"\nx = [1, 2.5, 'a', true]\n");
  ASSERT_EQ(settings.size(), 4u);
  EXPECT_EQ(std::get<int64_t>(settings.at("train.batch_size").value), 32);
  EXPECT_EQ(std::get<double>(settings.at("train.optimizer.lr").value), 1e-3);
  EXPECT_EQ(settings.at("data.path").place.text, "f.toml:6:3");
  EXPECT_EQ(settings.at("data.path").place.base_folder, "/folder");
  EXPECT_EQ(std::get<std::vector<Scalar>>(settings.at("data.x").value).size(), 4u);
}

TEST(TomlDocument, AKeyInQuotesIsNotADottedKey) {
  const Settings settings = parse("\"train.lr\" = 1\n");
  EXPECT_EQ(settings.begin()->first, "\"train.lr\"");
}

TEST(TomlDocument, MistakesAreTheirPlaceAndAReason) {
  EXPECT_EQ(error_of("[train]\nepochs =\n").substr(0, 31), "f.toml:2:9: not valid TOML: whi");
  EXPECT_EQ(error_of("a = 1\na = 2\n").substr(0, 12), "f.toml:2:5: ");
  EXPECT_EQ(error_of("a = \"\xff\"\n").substr(0, 28), "f.toml:1:5: not valid TOML: ");
}

TEST(TomlDocument, WhatNoKeyCanBeIsToldAllAtOnce) {
  EXPECT_EQ(error_of("[run]\nout = 1979-05-27\nx = [[1], [2]]\n[[train]]\nepochs = 1\n"),
            "f.toml:2:7: run.out is a date or a time; put it in quotes if text is meant\n"
            "f.toml:3:6: run.x holds something other than numbers, texts and booleans\n"
            "f.toml:4:1: train is a list of tables; write [train], once");
}

TEST(TomlDocument, ASweepIsPointedToItsCommand) {
  const std::string expected =
      "f.toml:1:1: [sweep] describes many runs; `host bench` runs sweeps, `host run` and `host eval` one";
  EXPECT_EQ(error_of("[sweep]\n\"optimizer.lr\" = [1, 2]\n"), expected);
  EXPECT_EQ(error_of("[[sweep.case]]\nx = 1\n"), expected);
}

TEST(TomlDocument, TextsThatBreakTheParsersAssumptionsAreErrorsAtTheirPlace) {
  EXPECT_EQ(error_of("a=[1,}"), "f.toml:1:6: not valid TOML: nothing that may stand here");
  EXPECT_EQ(error_of("[run]\nseed = 1\nb = [1, }\n"), "f.toml:3:9: not valid TOML: nothing that may stand here");
  EXPECT_EQ(error_of("[[[1]]]").substr(0, 12), "f.toml:1:3: ");
  for (const char* text :
       {"a={x=[}", "a=[}", "a=}", "a=[1,2,}]", "[[]]", "[", "[[", "a=[[[}", "=", ".", "[.]", "\"", "'''", "a=\"\\"}) {
    EXPECT_EQ(error_of(text).rfind("f.toml:", 0), 0u) << text;
  }
}

TEST(TomlDocument, LettersBeyondAsciiOutsideOfTextsAreErrors) {
  EXPECT_EQ(error_of("x= [[\xcf\xa2").rfind("f.toml:1:", 0), 0u);
  EXPECT_EQ(error_of("\xc3\xa9 = 1").rfind("f.toml:1:1: ", 0), 0u);
  EXPECT_EQ(error_of("a = 1\xc3\xa9").rfind("f.toml:1:", 0), 0u);
}

TEST(TomlDocument, DepthIsLimited) {
  EXPECT_NE(error_of("a=" + repeated("[", 30000)).find("maximum nested value depth of 16"), std::string::npos);
  EXPECT_NE(error_of("a=" + repeated("{b=", 20000)).find("maximum nested value depth of 16"), std::string::npos);
  EXPECT_EQ(error_of("[" + repeated("a.", 32000) + "a]"),
            "f.toml:1:1: more than 64 dots in one line; write long lists on several lines");
  EXPECT_EQ(error_of("x = 1\n" + repeated("\"=\".", 10000) + "a = 1").rfind("f.toml:2:1: ", 0), 0u);
}

TEST(TomlDocument, TheDeepestTextThatPassesIsFreed) {
  const std::string key = repeated("a.", 60) + "a";
  std::string text = "[" + key + "]\n" + key + " = [\n";
  for (int i = 0; i < 6; ++i) text += "{" + key + " = [\n";
  text += "1";
  for (int i = 0; i < 6; ++i) text += "]}\n";
  EXPECT_EQ(error_of(text + "]\n").rfind("f.toml:2:", 0), 0u);  // a list of tables, after all of it was read
}

TEST(TomlDocument, CommentsMayHoldAnyNumberOfDots) {
  EXPECT_EQ(parse("# " + repeated(".", 200) + "\na = 1\n").size(), 1u);
}

TEST(TomlDocument, SizeIsLimited) {
  EXPECT_EQ(error_of("#" + std::string(kMaxSettingsBytes, ' ')),
            "f.toml: a settings file has at most 64 KiB, this one has more");
  EXPECT_EQ(parse("#" + std::string(kMaxSettingsBytes - 1, ' ')).size(), 0u);
}

TEST(TomlDocument, AnyBytesEndInSettingsOrAnError) {
  const std::string seed =
      "[train]\nlr=1e-3 # c\n\"a.b\" = [1, 2.5, \"x\\u00e9\", 'y', true]\nt.u = {a = [1,{b=-inf}], c = 0x1F}\n"
      "d = 1979-05-27T07:32:00.9Z\n[[c.d]]\ns = \"\"\"\nmulti\\\n line\"\"\"\n\xc3\xa9";
  const std::string alphabet = "[]{}=,.\"'#\n\\ _-+0123456789aenftxTZ:\xc3\xa9\xff\x00";
  std::mt19937 random(7);
  for (int round = 0; round < 30000; ++round) {
    std::string text = seed.substr(random() % seed.size(), 1 + random() % seed.size());
    for (uint32_t edits = random() % 6; edits > 0; --edits) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0)
        text.insert(at, 1, alphabet[random() % alphabet.size()]);
      else
        text[at] = alphabet[random() % alphabet.size()];
    }
    try {
      parse(text);
    } catch (const Error& error) {
      ASSERT_EQ(std::string(error.what()).rfind("f.toml:", 0), 0u) << text;
    }
  }
}

}  // namespace
}  // namespace esp
