// The border as compilers see it, against sdk/abi/1.0.layout, and the hash that drafts are compared by.
#include <espalier/abi.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in) << "cannot read " << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

uint64_t fnv1a(const std::string& bytes) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3ull;
  return hash;
}

const std::filesystem::path kGolden = std::filesystem::path(ESPALIER_SOURCE) / "sdk/abi/1.0.layout";

std::vector<std::filesystem::path> printed() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(ESPALIER_LAYOUTS)) {
    if (entry.path().extension() == ".layout") files.push_back(entry.path());
  }
  return files;
}

TEST(AbiLayout, EveryCompilerPrintsTheGoldenLayout) {
  ASSERT_FALSE(printed().empty());
  const std::string golden = read(kGolden);
  for (const auto& file : printed()) {
    EXPECT_TRUE(read(file) == golden)
        << "the border changed: compare " << kGolden << " with " << file
        << "; when the change is meant, copy the second over the first and set ESP_SDK_HASH";
  }
}

TEST(AbiLayout, TheSdkHashIsThatOfTheGoldenLayout) {
  char right[24];
  std::snprintf(right, sizeof right, "0x%016llxull", static_cast<unsigned long long>(fnv1a(read(kGolden))));
  EXPECT_EQ(ESP_SDK_HASH, fnv1a(read(kGolden))) << "set ESP_SDK_HASH in abi.h to " << right;
}

}  // namespace
