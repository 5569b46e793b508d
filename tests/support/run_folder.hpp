// What a run left behind, read back for checks.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace esp::test {

struct RunFolder {
  std::filesystem::path path;
  std::vector<nlohmann::json> steps;        // lines of metrics.jsonl that are steps
  std::vector<nlohmann::json> evaluations;  // and those that are evaluations
  std::vector<std::string> lines;           // of metrics.jsonl, as written
  nlohmann::json results;                   // results.json, null when there is none
};

RunFolder read_run(const std::filesystem::path& path);

// The text of one key's value in a line of JSON, exactly as written; empty when the key is not there. Two numbers are
// equal bit for bit when the texts are and the writer prints enough digits.
std::string raw_value(const std::string& line, const std::string& key);

}  // namespace esp::test
