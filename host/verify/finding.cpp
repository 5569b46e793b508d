#include "verify/finding.hpp"

#include <algorithm>

#include "verify/rules.hpp"

namespace esp::verify {

std::string text_of(const Where& where) {
  std::string text = where.call.empty() ? "the test" : where.call;
  if (where.unit >= 0) text += "(unit " + std::to_string(where.unit) + ")";
  if (where.pos >= 0) text += " at position " + std::to_string(where.pos);
  if (where.step >= 0) text += (where.pos >= 0 ? " of step " : " in step ") + std::to_string(where.step);
  if (where.rank >= 0) text += " on rank " + std::to_string(where.rank);
  return text;
}

void Findings::add(std::string_view rule, const std::string& what, const Where& where) {
  find_rule(rule);
  for (Finding& finding : list_) {
    if (finding.rule == rule && finding.where.call == where.call) {
      ++finding.times;
      return;
    }
  }
  list_.push_back({std::string(rule), what, where});
}

std::vector<Finding> Findings::result() const {
  std::vector<Finding> causes;
  for (const Finding& finding : list_) {
    if (!find_rule(finding.rule).is_effect) causes.push_back(finding);
  }
  if (causes.empty() && !list_.empty()) causes.push_back(list_.front());
  return causes;
}

}  // namespace esp::verify
