#include "bench/row.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "error.hpp"
#include "report/json_text.hpp"
#include "report/result_keys.hpp"
#include "report/statistics.hpp"

namespace esp::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStatusNames[] = {"done", "refused", "out of memory", "time limit", "failed"};

RowStatus status_of(const std::string& name) {
  for (size_t i = 0; i < std::size(kStatusNames); ++i) {
    if (name == kStatusNames[i]) return static_cast<RowStatus>(i);
  }
  throw std::invalid_argument("no status is called " + name);
}

double number(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || !found->is_number() ? kUnknown : found->get<double>();
}

// Numbers of a run that are told or not, by key.
constexpr std::pair<const char*, double RunMeasure::*> kRunNumbers[] = {
    {keys::kStepMsMedian, &RunMeasure::median},
    {keys::kStepMsP5, &RunMeasure::p5},
    {keys::kStepMsP95, &RunMeasure::p95},
    {keys::kSamplesPerSecond, &RunMeasure::samples_per_second},
    {keys::kTrainLoss, &RunMeasure::train_loss},
    {keys::kExposedCommunicationMs, &RunMeasure::exposed_ms},
    {keys::kJoulesPerStep, &RunMeasure::joules_per_step},
    {keys::kJoulesPerSample, &RunMeasure::joules_per_sample}};

Json to_json(const RunMeasure& run) {
  Json json = {{"repeat", run.repeat}, {"warmup_steps", run.warmup}, {"samples", run.samples}};
  for (const auto& [key, value] : kRunNumbers) json[key] = run.*value;
  json[keys::kStepMs] = run.step_ms;
  return json;
}

RunMeasure run_from(const Json& json) {
  RunMeasure run;
  run.repeat = json.at("repeat").get<int64_t>();
  run.warmup = json.at("warmup_steps").get<size_t>();
  run.samples = json.at("samples").get<double>();
  for (const auto& [key, value] : kRunNumbers) run.*value = number(json, key);
  run.step_ms = json.at(keys::kStepMs).get<std::vector<double>>();
  return run;
}

double mean_over(const std::vector<RunMeasure>& runs, double RunMeasure::*value) {
  if (runs.empty()) return kUnknown;
  double sum = 0;
  for (const RunMeasure& run : runs) sum += run.*value;
  return sum / static_cast<double>(runs.size());
}

// Of all steps where they are known, else of what the runs say of themselves.
double over_steps(const Row& row, double q, double RunMeasure::*told) {
  std::vector<double> all;
  for (const auto& run : row.step_times()) all.insert(all.end(), run.begin(), run.end());
  return all.empty() ? mean_over(row.runs, told) : quantile(std::move(all), q);
}

}  // namespace

const char* status_name(RowStatus status) { return kStatusNames[static_cast<size_t>(status)]; }

Runs Row::step_times() const {
  Runs times;
  for (const RunMeasure& run : runs) {
    if (!run.step_ms.empty()) times.push_back(run.step_ms);
  }
  return times;
}

double Row::median() const { return over_steps(*this, 0.5, &RunMeasure::median); }
double Row::p5() const { return over_steps(*this, 0.05, &RunMeasure::p5); }
double Row::p95() const { return over_steps(*this, 0.95, &RunMeasure::p95); }
double Row::samples_per_second() const { return mean_over(runs, &RunMeasure::samples_per_second); }

double Row::exposed_ms() const { return mean_over(runs, &RunMeasure::exposed_ms); }
double Row::joules_per_step() const { return mean_over(runs, &RunMeasure::joules_per_step); }
double Row::joules_per_sample() const { return mean_over(runs, &RunMeasure::joules_per_sample); }

double Row::rate_spread() const {
  if (runs.size() < 2) return kUnknown;
  const auto slower = [](const RunMeasure& a, const RunMeasure& b) {
    return a.samples_per_second < b.samples_per_second;
  };
  const auto [slowest, fastest] = std::minmax_element(runs.begin(), runs.end(), slower);
  return (fastest->samples_per_second - slowest->samples_per_second) / samples_per_second();
}

std::string to_json_line(const Row& row) {
  Json json = {{"id", row.id}, {"label", row.label}, {"settings", Json::array()}};
  for (const auto& [key, value] : row.swept) json["settings"].push_back({{"key", key}, {"value", value}});
  json["external"] = row.external;
  json["status"] = status_name(row.status);
  json["exit_code"] = row.exit_code;
  json["reason"] = row.reason;
  json[keys::kPlugin] = row.plugin;
  json[keys::kModel] = row.model;
  json[keys::kDevice] = row.device;
  json[keys::kDeviceName] = row.device_name;
  json[keys::kPrecision] = row.precision;
  json[keys::kWorldSize] = row.world_size;
  json[keys::kBatchSize] = row.batch_size;
  json[keys::kGlobalBatchSize] = row.global_batch_size;
  json[keys::kSamplesPerSecond] = row.samples_per_second();
  json[keys::kStepMsMedian] = row.median();
  json[keys::kStepMsP5] = row.p5();
  json[keys::kStepMsP95] = row.p95();
  json[keys::kExposedCommunicationMs] = row.exposed_ms();
  json[keys::kJoulesPerStep] = row.joules_per_step();
  json[keys::kJoulesPerSample] = row.joules_per_sample();
  json[keys::kModelFlopsPerSecond] = row.model_flops_per_second;
  json[keys::kMfu] = row.mfu;
  json[keys::kPeakAllocatedBytes] = row.peak_allocated_bytes;
  json[keys::kPeakDeviceBytes] = row.peak_device_bytes;
  json[keys::kMemoryBytes] = Json::object();
  for (const auto& [tag, bytes] : row.memory_bytes) json[keys::kMemoryBytes][tag] = bytes;
  json[keys::kMemoryBytesPinned] = Json::object();
  for (const auto& [tag, bytes] : row.memory_bytes_pinned) json[keys::kMemoryBytesPinned][tag] = bytes;
  json[keys::kCollectivesPerStep] = Json::object();
  for (const auto& [name, count] : row.collectives) {
    json[keys::kCollectivesPerStep][name] = {{keys::kCalls, count.calls}, {keys::kBytes, count.bytes}};
  }
  json["runs"] = Json::array();
  for (const RunMeasure& run : row.runs) json["runs"].push_back(to_json(run));
  return json_text(json) + "\n";
}

Row row_from_json(const std::string& line, const std::string& place) try {
  const Json json = Json::parse(line);
  Row row;
  row.id = json.at("id").get<std::string>();
  row.label = json.at("label").get<std::string>();
  for (const Json& pair : json.at("settings")) {
    row.swept.emplace_back(pair.at("key").get<std::string>(), pair.at("value").get<std::string>());
  }
  row.external = json.at("external").get<bool>();
  row.status = status_of(json.at("status").get<std::string>());
  row.exit_code = json.at("exit_code").get<int>();
  row.reason = json.at("reason").get<std::string>();
  row.plugin = json.at(keys::kPlugin).get<std::string>();
  row.model = json.at(keys::kModel).get<std::string>();
  row.device = json.at(keys::kDevice).get<std::string>();
  row.device_name = json.at(keys::kDeviceName).get<std::string>();
  row.precision = json.at(keys::kPrecision).get<std::string>();
  row.world_size = json.at(keys::kWorldSize).get<int64_t>();
  row.batch_size = json.at(keys::kBatchSize).get<int64_t>();
  row.global_batch_size = json.at(keys::kGlobalBatchSize).get<int64_t>();
  row.model_flops_per_second = json.at(keys::kModelFlopsPerSecond).get<double>();
  row.mfu = number(json, keys::kMfu);
  row.peak_allocated_bytes = number(json, keys::kPeakAllocatedBytes);
  row.peak_device_bytes = number(json, keys::kPeakDeviceBytes);
  for (const auto& [tag, bytes] : json.at(keys::kMemoryBytes).items()) row.memory_bytes[tag] = bytes.get<double>();
  for (const auto& [tag, bytes] : json.at(keys::kMemoryBytesPinned).items()) {
    row.memory_bytes_pinned[tag] = bytes.get<double>();
  }
  for (const auto& [name, count] : json.at(keys::kCollectivesPerStep).items()) {
    row.collectives[name] = {count.at(keys::kCalls).get<double>(), count.at(keys::kBytes).get<double>()};
  }
  for (const Json& run : json.at("runs")) row.runs.push_back(run_from(run));
  return row;
} catch (const std::exception& error) {
  throw Error(ExitCode::kCheckpoint,
              place + ": not a row of a sweep (" + error.what() + "); run host bench again with another --out");
}

}  // namespace esp::bench
