#include "support/run_folder.hpp"

#include <sstream>

#include "support/scratch.hpp"

namespace esp::test {

RunFolder read_run(const std::filesystem::path& path) {
  RunFolder run;
  run.path = path;
  std::istringstream metrics(read_file(path / "metrics.jsonl"));
  for (std::string line; std::getline(metrics, line);) {
    run.lines.push_back(line);
    const nlohmann::json record = nlohmann::json::parse(line);
    (record.contains("eval_loss") ? run.evaluations : run.steps).push_back(record);
  }
  if (std::filesystem::exists(path / "results.json"))
    run.results = nlohmann::json::parse(read_file(path / "results.json"));
  return run;
}

std::string raw_value(const std::string& line, const std::string& key) {
  const size_t at = line.find('"' + key + "\":");
  if (at == std::string::npos) return "";
  const size_t begin = at + key.size() + 3;
  return line.substr(begin, line.find_first_of(",}", begin) - begin);
}

}  // namespace esp::test
