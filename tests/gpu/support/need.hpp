// What becomes of a test where something it needs is missing.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

// First line of a SetUp. `missing` says what is missing, or nothing. Where GPUs are known to be there
// (ESPALIER_GPU_TESTS_REQUIRED is set) a test that does not run has failed.
#define ESPALIER_NEED(missing)                                                            \
  if (const std::string why = (missing); !why.empty()) {                                  \
    if (std::getenv("ESPALIER_GPU_TESTS_REQUIRED") != nullptr) FAIL() << "needs " << why; \
    GTEST_SKIP() << "needs " << why;                                                      \
  }
