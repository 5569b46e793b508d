#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "cli/commands.hpp"
#include "plugin_bytes.hpp"

namespace esp {
namespace fs = std::filesystem;
namespace {

using test::fixture;
using test::PluginBytes;
using test::ScopedVariable;
using test::TemporaryFolder;

std::string list(bool json) {
  std::ostringstream out;
  EXPECT_EQ(cli::plugins_list(out, json), 0);
  return out.str();
}

std::string inspect(const std::string& name, bool json) {
  std::ostringstream out;
  EXPECT_EQ(cli::plugins_inspect(name, json, out), 0);
  return out.str();
}

TEST(PluginsList, ShowsWhatTheBytesSayAndSkipsOtherLibraries) {
  const TemporaryFolder folder;
  PluginBytes().write(folder.path() / "libtoy.so");
  PluginBytes other;
  other.note().desc.abi_major = 2;
  other.write(folder.path() / "libfuture.so");
  fs::copy_file(fixture("no_note"), folder.path() / "libplain.so");
  fs::copy_file(fixture("crash_on_load"), folder.path() / "libcrash.so");  // no code of it may run
  const ScopedVariable path("ESPALIER_PLUGIN_PATH", folder.path().c_str());
  const std::string text = list(false);
  EXPECT_NE(text.find(folder.path().string() + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  libtoy.so     strategy:toy  org.example.toy 1.2.3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  libfuture.so  cannot be loaded: L14 "), std::string::npos) << text;
  EXPECT_NE(text.find("libcrash.so"), std::string::npos) << text;
  EXPECT_EQ(text.find("libplain.so"), std::string::npos) << text;
  const auto json = nlohmann::json::parse(list(true));
  ASSERT_EQ(json.size(), 3u);
  EXPECT_EQ(json[1]["path"], (folder.path() / "libfuture.so").string());
  EXPECT_EQ(json[2]["refusal"], "");
  EXPECT_EQ(json[2]["id"], "org.example.toy");
}

TEST(PluginsList, NamesTheFoldersWhenThereIsNothing) {
  const TemporaryFolder folder;
  const ScopedVariable path("ESPALIER_PLUGIN_PATH", folder.path().c_str());
  EXPECT_NE(list(false).find("no plugins in " + folder.path().string()), std::string::npos);
  EXPECT_EQ(list(true), "[]\n");
}

TEST(PluginsInspect, ShowsEveryOptionWithTypeDefaultRangeAndDoc) {
  const std::string text = inspect(fixture("toy").string(), false);
  const std::string header = "libtoy.so  org.example.toy 1.2.3   ABI 1.0 (needs 1.0)   torch: none   cuda: none   ";
  EXPECT_EQ(text.substr(0, header.size()), header);
  EXPECT_NE(text.find("  strategy toy   does nothing   [cpu deterministic]\n"
                      "    period  integer   8           1..4096     steps between averages  sweepable\n"
                      "    bucket  size      25MiB       1MiB..      bytes per bucket        sweepable, affects state\n"
                      "    kind    choice    fast        fast|small  what to favour\n"
                      "    shape   integers  [3, 4]                  sizes of something      advanced\n"
                      "    source  path      (required)              a file\n"
                      "  strategy toy-too   does nothing either\n"),
            std::string::npos)
      << text;
}

TEST(PluginsInspect, ShowsOneComponentWhenItIsNamed) {
  const std::string text = inspect(fixture("toy").string() + ":toy-too", false);
  EXPECT_EQ(text.find("strategy toy "), std::string::npos) << text;
  EXPECT_NE(text.find("strategy toy-too"), std::string::npos) << text;
  test::expect_refusal(50, "only toy, toy-too", [] { inspect(fixture("toy").string() + ":tai", false); });
}

TEST(PluginsInspect, GivesTypedJson) {
  const auto json = nlohmann::json::parse(inspect(fixture("toy").string(), true));
  EXPECT_EQ(json["torch"], "none");
  const auto& options = json["components"][0]["options"];
  EXPECT_EQ(options[0]["default"], 8);
  EXPECT_EQ(options[1]["default"], 26214400);
  EXPECT_EQ(options[1]["max"], nullptr);
  EXPECT_EQ(options[2]["choices"], (std::vector<std::string>{"fast", "small"}));
  EXPECT_EQ(options[3]["default"], (std::vector<int>{3, 4}));
  EXPECT_EQ(options[4]["flags"], std::vector<std::string>{"required"});
}

TEST(PluginsInspect, ShowsWarnings) {
  EXPECT_NE(inspect(fixture("extra_export").string(), false).find("  warning: L22 "), std::string::npos);
}

}  // namespace
}  // namespace esp
