#include "report/run_page.hpp"

#include <fstream>
#include <vector>

#include "error.hpp"
#include "report/durable_file.hpp"
#include "report/html.hpp"
#include "report/json_text.hpp"
#include "report/number_text.hpp"
#include "report/plot.hpp"
#include "report/result_keys.hpp"

namespace esp {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kResults = "results.json";
constexpr const char* kMetrics = "metrics.jsonl";

struct Curves {
  std::vector<Point> loss, lr, step_ms, grad_norm, eval_loss;
};

double number(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

Curves read_curves(const fs::path& path) {
  Curves curves;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) {
      throw Error(ExitCode::kCheckpoint, path.string() + ": holds a line that is not a JSON object");
    }
    const double step = number(json, "step");
    curves.eval_loss.push_back({step, number(json, "eval_loss"), ""});
    if (json.contains("event")) continue;
    curves.loss.push_back({step, number(json, "loss"), ""});
    curves.lr.push_back({step, number(json, "lr"), ""});
    curves.grad_norm.push_back({step, number(json, "grad_norm"), ""});
    curves.step_ms.push_back({step, number(json, keys::kStepMs), ""});
  }
  return curves;
}

Json read_results(const fs::path& path) {
  std::ifstream file(path);
  Json json = Json::parse(file, nullptr, false);
  if (!json.is_object()) throw Error(ExitCode::kCheckpoint, path.string() + ": is not a JSON object");
  return json;
}

std::vector<Bar> memory_bars(const Json& results) {
  std::vector<Bar> bars;
  const auto add = [&](const std::string& name, const Json& bytes) {
    if (!bytes.is_number() || bytes.get<double>() <= 0) return;
    bars.push_back({name, bytes.get<double>(), rounded_bytes_text(static_cast<uint64_t>(bytes.get<double>()))});
  };
  const auto add_tags = [&](const char* key, const std::string& place) {
    const auto tags = results.find(key);
    if (tags == results.end() || !tags->is_object()) return false;
    for (const auto& [tag, bytes] : tags->items()) add(tag + place, bytes);
    return true;
  };
  if (!add_tags(keys::kMemoryBytesDevice, "")) add_tags(keys::kMemoryBytes, "");  // a run of an older host
  add_tags(keys::kMemoryBytesPinned, ", pinned");
  add("all allocated", results.value(keys::kPeakAllocatedBytes, Json()));
  const bool cpu = results.value(keys::kDevice, Json()) == "cpu";
  add(cpu ? "resident set" : "device", results.value(keys::kPeakDeviceBytes, Json()));
  return bars;
}

std::string value_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "n/a" : json_text(value);
}

std::string table(const Json& results) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, value] : results.items()) rows.push_back({key, value_text(value)});
  return html_table({"key of results.json", "value"}, rows);
}

}  // namespace

bool holds_run(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / kResults, ignored) && fs::is_regular_file(folder / kMetrics, ignored);
}

void write_run_page(const fs::path& folder) {
  const Json results = read_results(folder / kResults);
  const Curves curves = read_curves(folder / kMetrics);
  const std::string body =
      curve_plot("training loss, mean over the samples of a step", "step", curves.loss) +
      curve_plot("validation loss", "step", curves.eval_loss) + curve_plot("learning rate", "step", curves.lr) +
      curve_plot("norm of the gradients, before clipping", "step", curves.grad_norm) +
      curve_plot("step time in ms, on the device's clock", "step", curves.step_ms) +
      bar_plot("peak memory of the rank with most", memory_bars(results)) + "<h2>Results</h2>\n" + table(results) +
      "<h2>What the numbers mean</h2>\n" +
      html_list(
          {"train_loss: mean over all samples trained on. eval_*: every sample of the split scored once.",
           "step_ms_*: median and quantiles of the steps without the warm-up steps left out; the first step after a "
           "pause counts from its own start.",
           "memory_bytes: peaks by kind as the host counts them, in both places together, memory_bytes_device and "
           "memory_bytes_pinned in each; peaks need not coincide. "
           "peak_allocated_bytes: their sum at its highest. peak_device_bytes: what the device had in use, on a CPU "
           "the resident set.",
           "exposed_communication_ms: of a step, how long the compute stream stood still while a collective was under "
           "way; measured in steps after the last one when train.profile_steps asks for it. joules_per_step, "
           "joules_per_sample: what the GPUs took by their own counters, over the last two thirds of the steps.",
           "null or n/a: not measured, or not known."});
  const std::string title =
      value_text(results.value(keys::kModel, Json())) + " with " + value_text(results.value(keys::kPlugin, Json()));
  write_whole_file(folder / "report.html", html_page(title, body));
}

}  // namespace esp
