#include "algorithm_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace esp::vit::fused {
namespace {

namespace fs = std::filesystem;

RememberedAlgorithm algorithm(uint64_t first) {
  RememberedAlgorithm one{};
  one.algorithm.data[0] = first;
  one.algorithm.data[7] = ~first;
  one.workspace = 32 << 20;
  return one;
}

bool same(const std::optional<RememberedAlgorithm>& got, const RememberedAlgorithm& wanted) {
  return got && got->workspace == wanted.workspace &&
         std::memcmp(&got->algorithm, &wanted.algorithm, sizeof wanted.algorithm) == 0;
}

// A cache folder of the test's own.
class AlgorithmFileTest : public testing::Test {
 protected:
  AlgorithmFileTest() { setenv("ESPALIER_CACHE", folder_.c_str(), 1); }
  ~AlgorithmFileTest() override {
    unsetenv("ESPALIER_CACHE");
    fs::remove_all(folder_);
  }
  fs::path file() const { return folder_ / "matmul-algorithms.txt"; }

 private:
  const fs::path folder_ = fs::temp_directory_path() / ("espalier-algorithms-" + std::to_string(getpid()));
};

TEST_F(AlgorithmFileTest, FindsNothingWhereNothingWasRemembered) {
  EXPECT_FALSE(AlgorithmFile().find("a product").has_value());
}

TEST_F(AlgorithmFileTest, RemembersForLaterRuns) {
  AlgorithmFile first;
  first.remember("a product", algorithm(7));
  first.remember("another", algorithm(8));
  EXPECT_TRUE(same(first.find("a product"), algorithm(7)));
  const AlgorithmFile later;
  EXPECT_TRUE(same(later.find("a product"), algorithm(7)));
  EXPECT_TRUE(same(later.find("another"), algorithm(8)));
  EXPECT_FALSE(later.find("a third").has_value());
}

TEST_F(AlgorithmFileTest, TheLastWordCounts) {
  AlgorithmFile().remember("a product", algorithm(1));
  AlgorithmFile().remember("a product", algorithm(2));
  EXPECT_TRUE(same(AlgorithmFile().find("a product"), algorithm(2)));
}

TEST_F(AlgorithmFileTest, DoesNotBelieveAnotherSearch) {
  AlgorithmFile().remember("a product", algorithm(1));
  std::string line;
  std::getline(std::ifstream(file()), line);
  const size_t comma = line.find(", ");
  ASSERT_NE(comma, std::string::npos);
  fs::remove(file());
  std::ofstream(file()) << line.substr(comma + 2) << '\n' << "search 1" << line.substr(comma) << '\n';
  EXPECT_FALSE(AlgorithmFile().find("a product").has_value());
}

TEST_F(AlgorithmFileTest, SkipsALineThatWasCut) {
  AlgorithmFile().remember("a product", algorithm(1));
  fs::resize_file(file(), fs::file_size(file()) - 6);
  EXPECT_FALSE(AlgorithmFile().find("a product").has_value());
}

}  // namespace
}  // namespace esp::vit::fused
