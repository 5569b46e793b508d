#include "modules/search.hpp"

#include <gtest/gtest.h>

#include "plugin_bytes.hpp"

namespace esp {
namespace fs = std::filesystem;
namespace {

using test::expect_refusal;
using test::ScopedVariable;
using test::TemporaryFolder;

TEST(PluginSearch, TakesAPathAsGiven) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("libmine.so", "x");
  EXPECT_EQ(find_plugin(file.string()), file);
  EXPECT_EQ(find_plugin((folder.path() / "." / "libmine.so").string()), file);
}

TEST(PluginSearch, ResolvesSymlinks) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("libmine.so", "x");
  fs::create_symlink(file, folder.path() / "alias.so");
  EXPECT_EQ(find_plugin((folder.path() / "alias.so").string()), file);
}

TEST(PluginSearch, LooksUpBareNamesInTheFoldersOfTheEnvironmentInTheirOrder) {
  const TemporaryFolder first, second;
  second.write("libmine.so", "x");
  const ScopedVariable path("ESPALIER_PLUGIN_PATH", (first.path().string() + "::" + second.path().string()).c_str());
  EXPECT_EQ(find_plugin("libmine.so"), second.path() / "libmine.so");
  first.write("libmine.so", "x");
  EXPECT_EQ(find_plugin("libmine.so"), first.path() / "libmine.so");
}

TEST(PluginSearch, EndsInTheFolderBesideTheExecutable) {
  const ScopedVariable path("ESPALIER_PLUGIN_PATH", nullptr);
  EXPECT_EQ(plugin_folders(), std::vector<fs::path>{executable_folder().parent_path() / "lib/espalier"});
}

TEST(PluginSearch, NamesEveryPlaceAndTheNearestNameWhenNothingIsFound) {
  const TemporaryFolder folder;
  folder.write("libzero.so", "x");
  folder.write("libgemini.so", "x");
  folder.write("readme.txt", "x");
  const ScopedVariable path("ESPALIER_PLUGIN_PATH", folder.path().c_str());
  expect_refusal(1, "did you mean libzero.so?", [] { find_plugin("libzro.so"); });
  expect_refusal(1, "did you mean libzero.so?", [] { find_plugin("zero"); });
  expect_refusal(1, "did you mean libgemini.so?", [&] { find_plugin((folder.path() / "libgemni.so").string()); });
  expect_refusal(1, (folder.path() / "libx.so").string(), [] { find_plugin("libx.so"); });
  expect_refusal(1, (plugin_folders().back() / "libx.so").string(), [] { find_plugin("libx.so"); });
  expect_refusal(1, "ESPALIER_PLUGIN_PATH", [] { find_plugin("something-else-entirely"); });
  expect_refusal(1, "no file is named", [] { find_plugin(""); });
}

TEST(PluginSearch, DoesNotTakeAFolderForALibrary) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / "libdir.so");
  expect_refusal(1, "not found", [&] { find_plugin((folder.path() / "libdir.so").string()); });
  EXPECT_TRUE(shared_libraries_in(folder.path()).empty());
  EXPECT_TRUE(shared_libraries_in(folder.path() / "nowhere").empty());
}

}  // namespace
}  // namespace esp
