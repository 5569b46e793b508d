#include "schema_check.hpp"

#include <algorithm>
#include <regex>
#include <set>

namespace esp::test {
namespace {

using Lines = std::vector<std::string>;

const std::set<std::string> kKeywords{"$schema", "title",   "type",        "properties", "required",
                                      "enum",    "anyOf",   "items",       "minimum",    "maximum",
                                      "pattern", "default", "description", "deprecated", "additionalProperties"};
const std::set<std::string> kTypes{"object", "array", "string", "integer", "number", "boolean", "null"};

void append(Lines& to, const Lines& lines) { to.insert(to.end(), lines.begin(), lines.end()); }

bool compiles(const std::string& pattern) {
  try {
    return std::regex(pattern, std::regex::ECMAScript).mark_count() < 100;
  } catch (const std::regex_error&) {
    return false;
  }
}

// Of an object's table.
Lines table_faults(const Json& schema, const std::string& place) {
  Lines faults;
  const Json properties = schema.value("properties", Json::object());
  if (!properties.is_object()) return {place + "/properties is no object"};
  for (const auto& [key, child] : properties.items()) append(faults, schema_faults(child, place + "/" + key));
  std::set<std::string> names;
  for (const Json& key : schema.value("required", Json::array())) {
    if (!key.is_string() || !properties.contains(key) || !names.insert(key).second) {
      faults.push_back(place + "/required: " + key.dump() + " is no property, or twice");
    }
  }
  const Json open = schema.value("additionalProperties", Json(true));
  if (!open.is_boolean()) faults.push_back(place + "/additionalProperties is no boolean");
  return faults;
}

Lines keyword_faults(const Json& schema, const std::string& place) {
  Lines faults;
  for (const auto& [key, value] : schema.items()) {
    if (kKeywords.count(key) == 0) faults.push_back(place + ": unknown keyword " + key);
  }
  if (schema.contains("type") && kTypes.count(schema["type"]) == 0) faults.push_back(place + ": no type");
  if (schema.contains("pattern") && !compiles(schema["pattern"])) faults.push_back(place + ": no pattern");
  if (schema.contains("description") && !schema["description"].is_string()) faults.push_back(place + ": no text");
  if (schema.contains("minimum") && schema.contains("maximum") && schema["minimum"] > schema["maximum"]) {
    faults.push_back(place + ": bounds cross");
  }
  const Json choices = schema.value("enum", Json::array({0}));
  if (!choices.is_array() || choices.empty() || std::set<Json>(choices.begin(), choices.end()).size() != choices.size())
    faults.push_back(place + ": enum is empty or has one value twice");
  return faults;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "null") return value.is_null();
  return value.type_name() == type;
}

Lines table_refusals(const Json& schema, const Json& value, const std::string& place) {
  Lines why;
  const Json properties = schema.value("properties", Json::object());
  for (const auto& [key, child] : value.items()) {
    if (properties.contains(key)) {
      append(why, refusals(properties[key], child, place + "/" + key));
    } else if (schema.value("additionalProperties", Json(true)) == Json(false)) {
      why.push_back(place + ": no key " + key);
    }
  }
  for (const Json& key : schema.value("required", Json::array())) {
    if (!value.contains(key)) why.push_back(place + ": " + key.dump() + " is missing");
  }
  return why;
}

bool fits_any(const Json& schemas, const Json& value) {
  return std::any_of(schemas.begin(), schemas.end(), [&](const Json& one) { return refusals(one, value).empty(); });
}

}  // namespace

Lines schema_faults(const Json& schema, const std::string& place) {
  if (!schema.is_object()) return {place + " is no object"};
  Lines faults = keyword_faults(schema, place);
  if (!faults.empty()) return faults;
  append(faults, table_faults(schema, place));
  if (schema.contains("items")) append(faults, schema_faults(schema["items"], place + "/items"));
  if (schema.contains("anyOf")) {
    if (schema["anyOf"].empty()) faults.push_back(place + ": anyOf is empty");
    for (const Json& one : schema["anyOf"]) append(faults, schema_faults(one, place + "/anyOf"));
  }
  if (faults.empty() && schema.contains("default")) append(faults, refusals(schema, schema["default"], place));
  return faults;
}

Lines refusals(const Json& schema, const Json& value, const std::string& place) {
  Lines why;
  const auto refuse = [&](const std::string& text) { why.push_back(place + ": " + value.dump() + " " + text); };
  if (schema.contains("type") && !has_type(value, schema["type"])) {
    refuse("is no " + schema["type"].get<std::string>());
    return why;
  }
  if (schema.contains("enum") && std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end())
    refuse("is no choice");
  if (value.is_number() && schema.contains("minimum") && value < schema["minimum"]) refuse("is too small");
  if (value.is_number() && schema.contains("maximum") && value > schema["maximum"]) refuse("is too large");
  if (value.is_string() && schema.contains("pattern") &&
      !std::regex_search(value.get<std::string>(), std::regex(schema["pattern"].get<std::string>())))
    refuse("does not match");
  if (schema.contains("anyOf") && !fits_any(schema["anyOf"], value)) refuse("fits no alternative");
  if (value.is_object()) append(why, table_refusals(schema, value, place));
  if (value.is_array() && schema.contains("items")) {
    for (const Json& one : value) append(why, refusals(schema["items"], one, place + "/items"));
  }
  return why;
}

}  // namespace esp::test
