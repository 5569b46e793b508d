#include "bench/measure.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "bench/warm_up.hpp"
#include "config/value_text.hpp"
#include "error.hpp"
#include "report/json_text.hpp"
#include "report/result_keys.hpp"
#include "report/statistics.hpp"

namespace esp::bench {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kLongestLine = 1 << 20;  // of an external program

[[noreturn]] void damaged(const fs::path& file, const std::string& why) {
  throw Error(ExitCode::kCheckpoint, file.string() + ": " + why);
}

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) damaged(path, "cannot be read");
  Json json = Json::parse(file, nullptr, false);
  if (!json.is_object()) damaged(path, "is not a JSON object");
  return json;
}

struct Steps {
  std::vector<double> ms, samples;
};

Steps read_steps(const fs::path& path) {
  std::ifstream file(path);
  if (!file) damaged(path, "cannot be read");
  Steps steps;
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) damaged(path, "holds a line that is not a JSON object");
    if (json.contains("event")) continue;
    if (!json.contains("step_ms") || !json["step_ms"].is_number()) damaged(path, "holds a step without step_ms");
    steps.ms.push_back(json["step_ms"].get<double>());
    steps.samples.push_back(json.value("samples", 0.0));
  }
  if (steps.ms.empty()) damaged(path, "holds no step");
  return steps;
}

double number(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : kUnknown;
}

std::string text(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t integer(const Json& json, const char* key) {
  const double value = number(json, key);
  return value >= 0 && value < 1e15 ? static_cast<int64_t>(value) : 0;
}

double larger(double a, double b) { return std::isnan(a) ? b : std::isnan(b) ? a : std::max(a, b); }

void add_quantiles(RunMeasure& run) {
  if (run.step_ms.empty()) return;
  run.median = quantile(run.step_ms, 0.5);
  run.p5 = quantile(run.step_ms, 0.05);
  run.p95 = quantile(run.step_ms, 0.95);
}

// What a run or an external program may tell beside its times.
void add_told(const Json& json, RunMeasure& run) {
  run.train_loss = number(json, keys::kTrainLoss);
  run.exposed_ms = number(json, keys::kExposedCommunicationMs);
  run.joules_per_step = number(json, keys::kJoulesPerStep);
  run.joules_per_sample = number(json, keys::kJoulesPerSample);
}

void add_memory(const Json& json, const char* key, std::map<std::string, double>& by_tag) {
  const auto tags = json.find(key);
  if (tags == json.end() || !tags->is_object()) return;
  for (const auto& [tag, bytes] : tags->items()) {
    if (bytes.is_number()) by_tag[tag] = std::max(by_tag[tag], bytes.get<double>());
  }
}

void add_facts(const Json& json, Row& row) {
  row.plugin = text(json, keys::kPlugin);
  row.model = text(json, keys::kModel);
  row.device = text(json, keys::kDevice);
  row.device_name = text(json, keys::kDeviceName);
  row.precision = text(json, keys::kPrecision);
  row.world_size = integer(json, keys::kWorldSize);
  row.batch_size = integer(json, keys::kBatchSize);
  row.global_batch_size = integer(json, keys::kGlobalBatchSize);
  row.peak_allocated_bytes = larger(row.peak_allocated_bytes, number(json, keys::kPeakAllocatedBytes));
  row.peak_device_bytes = larger(row.peak_device_bytes, number(json, keys::kPeakDeviceBytes));
  add_memory(json, keys::kMemoryBytes, row.memory_bytes);
  add_memory(json, keys::kMemoryBytesPinned, row.memory_bytes_pinned);
  if (const auto counts = json.find(keys::kCollectivesPerStep); counts != json.end() && counts->is_object()) {
    for (const auto& [name, count] : counts->items()) {
      if (count.is_object()) row.collectives[name] = {number(count, keys::kCalls), number(count, keys::kBytes)};
    }
  }
}

void add_mfu(const Json& json, const BenchOptions& options, Row& row) {
  const double flops = number(json, keys::kModelFlopsPerSample);
  if (!(flops > 0)) return;
  row.model_flops_per_second = flops * row.samples_per_second();
  row.mfu = number(json, keys::kMfu);
  if (std::isnan(row.mfu) && options.peak_flops > 0 && row.world_size > 0) {
    row.mfu = row.model_flops_per_second / (options.peak_flops * static_cast<double>(row.world_size));
  }
}

double sum_from(const std::vector<double>& values, size_t begin) {
  double sum = 0;
  for (size_t i = begin; i < values.size(); ++i) sum += values[i];
  return sum;
}

// Of an external program; null when there is none.
Json last_measurement(const std::string& output) {
  Json found;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.size() > kLongestLine || line.find('{') == std::string::npos) continue;
    Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    if (number(json, keys::kSamplesPerSecond) > 0 || number(json, keys::kStepMsMedian) > 0) found = std::move(json);
  }
  return found;
}

}  // namespace

void add_run(const fs::path& folder, int64_t repeat, const BenchOptions& options, Row& row) {
  const Json results = read_json(folder / "results.json");
  const Steps steps = read_steps(folder / "metrics.jsonl");
  RunMeasure run;
  run.repeat = repeat;
  run.samples = number(results, keys::kTrainSamples);
  add_told(results, run);
  run.warmup = options.warmup ? std::min(static_cast<size_t>(*options.warmup), steps.ms.size() - 1)
                              : detect_warmup(steps.ms, static_cast<size_t>(options.warmup_allowance()));
  run.step_ms.assign(steps.ms.begin() + static_cast<std::ptrdiff_t>(run.warmup), steps.ms.end());
  add_quantiles(run);
  if (options.protocol == Protocol::kSeed) {  // all samples over wall time, the first step included
    run.samples_per_second = run.samples / number(results, keys::kTrainRuntime);
  } else {
    run.samples_per_second = 1e3 * sum_from(steps.samples, run.warmup) / sum_from(steps.ms, run.warmup);
  }
  row.runs.push_back(std::move(run));
  add_facts(results, row);
  add_mfu(results, options, row);
}

std::string add_external_run(const std::string& output, int64_t repeat, Row& row) {
  const Json found = last_measurement(output);
  if (found.is_null()) return "wrote no JSON line with samples_per_second or step_ms_median";
  RunMeasure run;
  run.repeat = repeat;
  run.median = number(found, keys::kStepMsMedian);
  run.p5 = number(found, keys::kStepMsP5);
  run.p95 = number(found, keys::kStepMsP95);
  add_told(found, run);
  run.samples = static_cast<double>(integer(found, keys::kTrainSamples));
  if (const auto steps = found.find(keys::kStepMs); steps != found.end() && steps->is_array()) {
    for (const Json& step : *steps) {
      if (!step.is_number() || !(step.get<double>() > 0)) return "wrote a step_ms list with something else than times";
      run.step_ms.push_back(step.get<double>());
    }
    add_quantiles(run);
  }
  run.samples_per_second = number(found, keys::kSamplesPerSecond);
  const auto samples_a_step = static_cast<double>(integer(found, keys::kGlobalBatchSize));
  if (std::isnan(run.samples_per_second) && samples_a_step > 0 && run.median > 0) {
    run.samples_per_second = 1e3 * samples_a_step / run.median;
  }
  row.runs.push_back(std::move(run));
  const std::string name = row.plugin;
  add_facts(found, row);
  row.plugin = name;
  for (std::string* told : {&row.plugin, &row.model, &row.device, &row.device_name, &row.precision}) {
    *told = printable(*told);
  }
  return "";
}

}  // namespace esp::bench
