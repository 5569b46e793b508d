// What `host verify` holds a plugin to: one list for messages and for docs/verify.md.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace esp::verify {

struct Rule {
  const char* id;      // stable: "HOOK-03"
  const char* demand;  // what the contract asks
  const char* advice;  // what to do when it is broken
  bool is_effect;      // wrong results: reported only where no other rule explains them
};

std::span<const Rule> rules();

// Throws Error(kInternal) for an id that is not in the list.
const Rule& find_rule(std::string_view id);

// docs/verify.md's table of rules.
std::string rules_markdown();

}  // namespace esp::verify
