#include "modules/module.hpp"

#include <espalier/strategy.h>
#include <gtest/gtest.h>

#include <cstring>

#include "modules/adopt.hpp"
#include "plugin_bytes.hpp"

namespace esp {
namespace fs = std::filesystem;
namespace {

using test::expect_refusal;
using test::fixture;
using test::PluginBytes;
using test::TemporaryFolder;

TEST(Module, GivesItsComponentsWithFullSizeOptions) {
  const Module& module = load_module(fixture("toy").string(), Probe::kChild);
  EXPECT_EQ(module.id, "org.example.toy");
  EXPECT_EQ(module.version, "1.2.3");
  EXPECT_STREQ(module.note.plugin_id, "org.example.toy");
  EXPECT_TRUE(module.warnings.empty());
  const ModuleComponent& toy = module.component(ESP_STRATEGY, "toy");
  EXPECT_STREQ(toy.component.summary, "does nothing");
  ASSERT_EQ(toy.component.n_options, 5u);
  EXPECT_EQ(toy.component.options, toy.option_list.data());
  EXPECT_EQ(toy.option_list[0], &toy.options[0]);
  EXPECT_STREQ(toy.option_list[0]->key, "period");
  EXPECT_EQ(toy.option_list[0]->def.v.i, 8);
  EXPECT_NE(toy.component.table(ESP_STRATEGY_ID), nullptr);
}

TEST(Module, LeavesOutComponentsOfKindsThatAreNotKnown) {
  EXPECT_EQ(load_module(fixture("toy").string(), Probe::kTrust).components.size(), 2u);
}

TEST(Module, IsTheSameForEveryNameOfAFile) {
  const TemporaryFolder folder;
  fs::create_symlink(fixture("toy"), folder.path() / "alias.so");
  const Module& module = load_module(fixture("toy").string(), Probe::kTrust);
  EXPECT_EQ(&load_module((folder.path() / "alias.so").string(), Probe::kChild), &module);
  fs::create_hard_link(fixture("toy"), fixture("toy_hard_link"));
  EXPECT_EQ(&load_module(fixture("toy_hard_link").string(), Probe::kChild), &module);
  fs::remove(fixture("toy_hard_link"));
}

TEST(Module, NamesItsComponentsWhenAnotherIsAskedFor) {
  const Module& module = load_module(fixture("toy").string(), Probe::kTrust);
  expect_refusal(50, "did you mean toy?", [&] { module.component(ESP_STRATEGY, "toi"); });
  expect_refusal(50, "several of the kind strategy: toy, toy-too; name one",
                 [&] { module.component(ESP_STRATEGY, ""); });
  expect_refusal(50, "offers no model", [&] { module.component(ESP_MODEL, ""); });
}

TEST(Module, KeepsTheWarningsOfItsFile) {
  const Module& module = load_module(fixture("extra_export").string(), Probe::kChild);
  ASSERT_EQ(module.warnings.size(), 1u);
  EXPECT_EQ(module.warnings[0].substr(0, 3), "L22");
}

TEST(Module, IsRefusedInAnyStageWithoutHarmToTheProcess) {
  const TemporaryFolder folder;
  const auto load = [](const fs::path& path) { load_module(path.string(), Probe::kChild); };
  expect_refusal(1, "not found", [&] { load(folder.path() / "nothing.so"); });
  expect_refusal(12, "not an Espalier plugin", [&] { load(fixture("no_note")); });
  expect_refusal(31, "crashed", [&] { load(fixture("crash_on_load")); });
  expect_refusal(38, "prepare", [&] { load(fixture("missing_functions")); });
  PluginBytes other;
  other.note().desc.abi_major = 2;
  expect_refusal(14, "ABI 2", [&] { load(other.write(folder.path() / "major2.so")); });
  expect_refusal(12, "", [&] { load(fixture("no_note")); });  // a second time, too
}

TEST(Module, IsCheckedInARankAsWell) {
  expect_refusal(39, "ADAPTS", [] { load_module(fixture("adapts_without_adapt").string(), Probe::kTrust); });
}

// Every size from nothing to more than ours, in an allocation of exactly that size.
TEST(AdoptedTable, TakesWhatIsThereAndZeroesTheRest) {
  for (uint32_t size = 4; size <= sizeof(esp_strategy_v1) + 64; ++size) {
    std::vector<std::byte> theirs(size, std::byte{0xab});
    std::memcpy(theirs.data(), &size, sizeof size);
    const auto mine = adopt<esp_strategy_v1>(theirs.data());
    const auto taken = std::min<uint32_t>(size, sizeof mine);
    EXPECT_EQ(mine.struct_size, taken);
    const auto* bytes = reinterpret_cast<const std::byte*>(&mine);
    for (size_t i = 4; i < sizeof mine; ++i) ASSERT_EQ(bytes[i], i < taken ? std::byte{0xab} : std::byte{0}) << size;
    EXPECT_EQ(ESP_HAS(esp_strategy_v1, &mine, adapt), size >= ESP_UPTO(esp_strategy_v1, adapt));
  }
}

}  // namespace
}  // namespace esp
