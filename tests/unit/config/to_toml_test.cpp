#include <gtest/gtest.h>

#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "config/toml_document.hpp"
#include "test_options.hpp"

namespace esp {
namespace {

using testing::from_flag;

std::string written(const std::string& table, const std::vector<const esp_option*>& options, const Settings& settings) {
  const OptionSet set = read_options(settings, table, options);
  const ResolvedTable resolved{table, options, set.values()};
  return to_toml(std::span(&resolved, 1));
}

TEST(ToToml, ReadsBackToTheSameText) {
  const testing::EveryType options;
  const Settings settings{{"strategy.label", from_flag("--x", "line\nbreak \"and\" gr\xc3\xbcn \x7f")},
                          {"strategy.bucket", from_flag("--x", "18446744073709551615B")},
                          {"strategy.ratio", from_flag("--x", "1e-300")},
                          {"strategy.folder", from_flag("--x", "a/b")},
                          {"strategy.patience", from_flag("--x", "100ms")},
                          {"strategy.stage", from_flag("--x", "8")},
                          {"strategy.names", from_flag("--x", "[]")}};
  testing::EveryType unbounded;
  unbounded.size.max = {};
  const std::string first = written("strategy", unbounded.list, settings);
  EXPECT_EQ(written("strategy", unbounded.list, parse_toml(first, "config.toml", "/elsewhere")), first);
  const std::string defaults = written("strategy", options.list, {});
  EXPECT_EQ(written("strategy", options.list, parse_toml(defaults, "config.toml", "/elsewhere")), defaults);
}

TEST(ToToml, WritesEveryKey) {
  const testing::EveryType options;
  EXPECT_EQ(
      written("strategy", options.list, {}),
      "[strategy]\noverlap = true\nstage = 4\nratio = 0.1\nlabel = \"a \\\"quoted\\\" \\\\ text\"\nmode = \"one\"\n"
      "bucket = \"25MiB\"\npatience = 90.0\n# folder is not set\nids = [-3, 7]\nscales = [0.5, 1e-08]\n"
      "names = [\"head.*\", \"embed\\u0009dings\"]\n");
}

TEST(ToToml, KeysOfOneTableStandUnderOneHeader) {
  const esp_option size = testing::option(ESP_OPT_STR, "size");
  const esp_option* of_plugin[] = {&size};
  const auto& tables = host_keys();
  const OptionSet host = read_options({}, "model", tables[1].keys), train = read_options({}, "train", tables[3].keys);
  const OptionSet plugin = read_options({{"model.size", from_flag("--x", "tiny")}}, "model", of_plugin);
  const ResolvedTable resolved[] = {{"model", tables[1].keys, host.values()},
                                    {"train", tables[3].keys, train.values()},
                                    {"model", of_plugin, plugin.values()}};
  const std::string text = to_toml(resolved);
  EXPECT_EQ(text.substr(0, 80),
            "[model]\nmodule = \"libvit.so\"\nrecompute = \"none\"\nfreeze = []\nsize = \"tiny\"\n\n[trai");
  EXPECT_EQ(text.find("[model]", 1), std::string::npos);
}

TEST(ToToml, TheHostsKeysReadBackToTheSameRunConfig) {
  const Settings given{{"optimizer.lr", from_flag("--x", "0.00012345678901234567")},
                       {"run.timeout", from_flag("--x", "2min")},
                       {"run.plugin", from_flag("--x", "./libmine.so:mine")},
                       {"optimizer.warmup_ratio", from_flag("--x", "0.1")}};
  std::vector<OptionSet> sets;
  std::vector<ResolvedTable> tables;
  for (const KeyTable& table : host_keys()) sets.push_back(read_options(given, table.name, table.keys));
  for (size_t i = 0; i < sets.size(); ++i)
    tables.push_back({host_keys()[i].name, host_keys()[i].keys, sets[i].values()});
  const RunConfig before = read_run_config(given);
  const RunConfig after = read_run_config(parse_toml(to_toml(tables), "out/run/config.toml", "/out/run"));
  EXPECT_EQ(after.optimizer.lr, before.optimizer.lr);
  EXPECT_EQ(after.run.timeout_s, before.run.timeout_s);
  EXPECT_EQ(after.run.plugin, "/work/libmine.so");
  EXPECT_EQ(after.run.strategy, "mine");
  EXPECT_EQ(after.optimizer.warmup_ratio, before.optimizer.warmup_ratio);
  EXPECT_EQ(after.train.batch_size, 0) << "what was not set stays derived";
}

TEST(ConfigurationMarkdown, HasALineForEveryKeyAndEscapesBars) {
  esp_option odd = testing::option(ESP_OPT_I64, "odd", ESP_OPT_REQUIRED);
  odd.doc = "a|b";
  const esp_option* list[] = {&odd};
  const ExtraKeys extra{"strategy", "libx.so:x", list};
  const std::string page = configuration_markdown(std::span(&extra, 1));
  for (const KeyTable& table : host_keys()) {
    EXPECT_NE(page.find("## `[" + table.name + "]`"), std::string::npos);
    for (const esp_option* option : table.keys)
      EXPECT_NE(page.find(std::string("| `") + option->key + "` |"), std::string::npos) << option->key;
  }
  EXPECT_NE(page.find("| `odd` | an integer |  | a\\|b (required) |"), std::string::npos) << page;
}

}  // namespace
}  // namespace esp
