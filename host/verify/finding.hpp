// What a check has found, and where.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace esp::verify {

// Where the plugin was. Fields that do not apply are negative.
struct Where {
  std::string call;  // "post_backward", "prepare"
  int rank = -1;
  int64_t step = -1;
  int64_t unit = -1;
  int64_t pos = -1;
};
std::string text_of(const Where& where);  // "post_backward(unit 2) at position 5 of step 1 on rank 0"

struct Finding {
  std::string rule;
  std::string what;
  Where where;
  uint64_t times = 1;  // the same rule again in the same call, later
};

// Collects findings of one test. [one thread at a time]
class Findings {
 public:
  // rule: an id of the list in rules.cpp.
  void add(std::string_view rule, const std::string& what, const Where& where);
  bool empty() const { return list_.empty(); }
  // What a test has measured, in one line: told in the report, whatever the verdict.
  void note(std::string text) { notes_.push_back(std::move(text)); }
  const std::vector<std::string>& notes() const { return notes_; }
  // Of effects only the first, and none where something else explains them.
  std::vector<Finding> result() const;

 private:
  std::vector<Finding> list_;
  std::vector<std::string> notes_;
};

}  // namespace esp::verify
