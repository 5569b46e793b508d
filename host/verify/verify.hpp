// `host verify`: runs all tests that apply to a library and says what was found.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "verify/test_case.hpp"

namespace esp::verify {

struct Report {
  std::string library, version;
  VerifyOptions options;
  std::vector<TestResult> results;

  size_t count(Verdict verdict) const;
};

// Throws Error(kUsage) when --only names nothing, LoadError when the library does not load.
Report verify(const VerifyOptions& options);

// One line a test that failed or was skipped, findings with what to do, and a last line to quote.
void print_text(const Report& report, std::ostream& out);
std::string to_json(const Report& report);
std::string to_junit(const Report& report);

}  // namespace esp::verify
