// main of tests that need GPUs. Where all of them were skipped it ends with 77, which CTest calls skipped; a failure
// beside skipped ones stays a failure.
#include <gtest/gtest.h>

#include <cstdio>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  const ::testing::UnitTest& tests = *::testing::UnitTest::GetInstance();
  if (failed != 0) return failed;
  if (tests.test_to_run_count() == 0) {
    std::printf("no test matches the filter\n");
    return 1;
  }
  return tests.skipped_test_count() == tests.test_to_run_count() ? 77 : 0;
}
