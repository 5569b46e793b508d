// As much of JSON Schema (draft 7) as `host plugins schema` writes: whether a schema is one, and whether a value fits.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace esp::test {

using Json = nlohmann::json;

// What is wrong with the schema itself, one line a fault with the place as a JSON pointer: keywords of other drafts or
// misspelled, types that do not exist, patterns that do not compile, a required key without a property, bounds that
// cross, a default that its own schema refuses.
std::vector<std::string> schema_faults(const Json& schema, const std::string& place = "");

// Why the value is refused; empty when it fits. The schema is in order.
std::vector<std::string> refusals(const Json& schema, const Json& value, const std::string& place = "");

}  // namespace esp::test
