#include "bench/sweep_result.hpp"

#include <fstream>

#include "error.hpp"
#include "report/durable_file.hpp"
#include "report/json_text.hpp"

namespace esp::bench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kSweepFile = "sweep.json";
constexpr const char* kRowsFile = "rows.jsonl";

void read_head(const fs::path& path, SweepResult& result) try {
  std::ifstream file(path);
  const Json json = Json::parse(file);
  result.name = json.at("name").get<std::string>();
  result.protocol = json.at("protocol").get<std::string>();
  result.repeats = json.at("repeats").get<int64_t>();
  result.keys = json.at("swept_keys").get<std::vector<std::string>>();
  for (const auto& [name, value] : json.at("environment").items()) {
    result.environment.emplace_back(name, value.get<std::string>());
  }
} catch (const nlohmann::json::exception& error) {
  throw Error(ExitCode::kCheckpoint, path.string() + ": not the head of a sweep (" + error.what() + ")");
}

}  // namespace

void write_result(const fs::path& folder, const SweepResult& result) {
  std::string rows;
  for (const Row& row : result.rows) rows += to_json_line(row);
  Json head = {{"name", result.name},
               {"protocol", result.protocol},
               {"repeats", result.repeats},
               {"swept_keys", result.keys},
               {"environment", Json::object()}};
  for (const auto& [name, value] : result.environment) head["environment"][name] = value;
  write_whole_file(folder / kSweepFile, json_text(head, 2) + "\n");
  write_whole_file(folder / kRowsFile, rows);
}

bool holds_sweep(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / kSweepFile, ignored) && fs::is_regular_file(folder / kRowsFile, ignored);
}

SweepResult read_result(const fs::path& folder) {
  SweepResult result;
  read_head(folder / kSweepFile, result);
  const fs::path path = folder / kRowsFile;
  std::ifstream file(path);
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    result.rows.push_back(row_from_json(line, path.string() + ":" + std::to_string(++number)));
  }
  return result;
}

Winners winners(const SweepResult& result, double budget) {
  Winners best;
  const auto faster = [](const Row& row, const Row* than) {
    return than == nullptr || row.samples_per_second() > than->samples_per_second();
  };
  for (const Row& row : result.rows) {
    if (!row.done()) continue;
    if (row.samples_per_second() > 0 && faster(row, best.fastest)) best.fastest = &row;
    const double bytes = row.peak_allocated_bytes;
    if (!(bytes >= 0)) continue;
    if (best.smallest == nullptr || bytes < best.smallest->peak_allocated_bytes) best.smallest = &row;
    if (budget > 0 && bytes <= budget && row.samples_per_second() > 0 && faster(row, best.fastest_within)) {
      best.fastest_within = &row;
    }
  }
  return best;
}

}  // namespace esp::bench
