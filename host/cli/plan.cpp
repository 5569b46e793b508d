// host plan: what a run would take on every rank, without starting it.
#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "cli/commands.hpp"
#include "cli/planning.hpp"
#include "modules/load_error.hpp"
#include "modules/search.hpp"
#include "report/number_text.hpp"
#include "report/results.hpp"
#include "report/table.hpp"

namespace esp::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kNoNote = 12;  // LoadError of a shared library that is no plugin
constexpr const char* kStage = "stage";
constexpr int64_t kMaxStages = 16;

// One line of the list: a strategy, perhaps at a stage, and what came of planning it.
struct Row {
  std::string strategy, stage;
  std::optional<RunPlan> plan;
  std::optional<bool> fits;
  std::string refusal;
};

Json number_or_null(uint64_t bytes) { return bytes == UINT64_MAX ? Json(nullptr) : Json(bytes); }

Json to_json(const runtime::TagBytes& by_tag) {
  Json tags = Json::object();
  for (unsigned tag = 0; tag < ESP_N_TAGS; ++tag) {
    if (tag <= ESP_TAG_INPUT || by_tag[tag] > 0) tags[memory_tag_name(tag)] = by_tag[tag];
  }
  return tags;
}

Json to_json(const RunPlan& run, const Capacity& capacity, int world) {
  const runtime::MemoryPlan& plan = run.peak;
  const auto verdict = fits(plan, capacity);
  return {{"strategy", plan.strategy},
          {"model", plan.model_name},
          {"num_parameters", plan.n_params},
          {"precision", plan.precision},
          {"world_size", world},
          {"planned_ranks", run.ranks},
          {"batch_size", plan.batch.micro_batch},
          {"accumulation_steps", plan.batch.accumulation},
          {"global_batch_size", plan.batch.global_batch},
          {"memory_bytes", to_json(plan.by_tag.both)},
          {"memory_bytes_device", to_json(plan.by_tag.device)},
          {"memory_bytes_pinned", to_json(plan.by_tag.pinned)},
          {"device_bytes", plan.device_bytes},
          {"pinned_bytes", plan.pinned_bytes},
          {"device_bytes_available", number_or_null(capacity.device)},
          {"pinned_bytes_available", number_or_null(capacity.pinned)},
          {"fits", verdict ? Json(*verdict) : Json(nullptr)},
          {"notes", plan.notes}};
}

std::string verdict_text(std::optional<bool> verdict) { return !verdict ? "not known" : *verdict ? "yes" : "no"; }

std::string of_capacity(uint64_t bytes, uint64_t capacity) {
  return rounded_bytes_text(bytes) + (capacity == UINT64_MAX ? "" : " of " + rounded_bytes_text(capacity));
}

void add_tags(KeyValueTable& table, const runtime::TagBytes& by_tag, const std::string& place) {
  for (unsigned tag = 0; tag < ESP_N_TAGS; ++tag) {
    if (by_tag[tag] > 0) table.add(memory_tag_name(tag) + place, rounded_bytes_text(by_tag[tag]));
  }
}

void print_plan(const RunPlan& run, const Capacity& capacity, int world, std::ostream& out) {
  const runtime::MemoryPlan& plan = run.peak;
  for (const std::string& note : plan.notes) out << "note: " << note << '\n';
  KeyValueTable table;
  table.add("strategy", plan.strategy);
  table.add("model", plan.model_name + ", " + fixed(static_cast<double>(plan.n_params) / 1e6, 2) + " M parameters");
  table.add("precision", plan.precision);
  table.add("ranks", std::to_string(world));
  table.add("batch", std::to_string(plan.batch.global_batch) + " = " + std::to_string(plan.batch.micro_batch) + " x " +
                         std::to_string(plan.batch.accumulation) + " x " + std::to_string(world) +
                         " (micro-batch x accumulation x ranks)");
  add_tags(table, plan.by_tag.device, "");
  add_tags(table, plan.by_tag.pinned, ", pinned");
  table.add("a rank on the device", of_capacity(plan.device_bytes, capacity.device));
  table.add("a rank in pinned memory", of_capacity(plan.pinned_bytes, capacity.pinned));
  const auto verdict = fits(plan, capacity);
  table.add("fits", verdict_text(verdict) + (verdict ? "" : ": set device_budget to the memory of the device"));
  table.print(out);
}

// ---- all strategies

Settings with(Settings settings, const std::string& key, const std::string& value) {
  settings[key] = {value, true, {"--" + key, std::filesystem::current_path().string()}};
  return settings;
}

// The values that a sweep would give the option `stage`; one empty text without such an option.
std::vector<std::string> stages_of(const ModuleComponent& component) {
  for (const esp_option& option : component.options) {
    if (option.key != std::string(kStage) || (option.flags & ESP_OPT_SWEEPABLE) == 0) continue;
    if (option.type == ESP_OPT_ENUM) return {option.choices, option.choices + option.n_choices};
    if (option.type != ESP_OPT_I64 || option.max.type != ESP_OPT_I64 || option.min.type != ESP_OPT_I64) break;
    if (option.max.v.i - option.min.v.i >= kMaxStages) break;
    std::vector<std::string> values;
    for (int64_t value = option.min.v.i; value <= option.max.v.i; ++value) values.push_back(std::to_string(value));
    return values;
  }
  return {""};
}

Row plan_row(const Settings& settings, const std::string& strategy, const std::string& stage) {
  Row row{strategy, stage, {}, {}, ""};
  try {
    const RunSetup setup = set_up_run(
        stage.empty() ? settings : with(settings, std::string("strategy.") + kStage, stage), "", Probe::kChild);
    const Capacity capacity = capacity_of(setup.config);
    row.plan = plan_run(setup, capacity, true);
    row.fits = fits(row.plan->peak, capacity);
  } catch (const Error& error) {
    row.refusal = error.what();
  }
  return row;
}

void add_rows_of(const std::filesystem::path& path, const Settings& settings, std::vector<Row>& rows) {
  const std::string file = path.filename().string();
  const Module* module = nullptr;
  try {
    module = &load_module(path.string(), Probe::kChild);
  } catch (const LoadError& error) {
    if (error.number() != kNoNote) rows.push_back({file, "", {}, {}, error.what()});
    return;
  }
  for (const ModuleComponent* component : module->components) {
    if (component->component.kind != ESP_STRATEGY) continue;
    const std::string name = file + ":" + component->component.id;
    const Settings chosen = with(settings, "run.plugin", path.string() + ":" + component->component.id);
    const bool is_decided = settings.contains(std::string("strategy.") + kStage);
    for (const std::string& stage : is_decided ? std::vector<std::string>{""} : stages_of(*component)) {
      rows.push_back(plan_row(chosen, name, stage));
    }
  }
}

std::vector<Row> plan_all(const Settings& settings) {
  std::vector<Row> rows;
  std::set<std::string> seen;  // a file hides those of the same name in later folders
  for (const auto& folder : plugin_folders()) {
    for (const std::string& name : shared_libraries_in(folder)) {
      if (seen.insert(name).second) add_rows_of(folder / name, settings, rows);
    }
  }
  return rows;
}

std::string largest_text(const RunPlan& plan, std::optional<bool> fits) {
  if (plan.largest_batch) return std::to_string(*plan.largest_batch);
  return fits ? "no limit" : "not known";
}

void print_rows(const std::vector<Row>& rows, std::ostream& out) {
  std::vector<std::vector<std::string>> cells;
  for (const Row& row : rows) {
    if (!row.plan) continue;
    const runtime::MemoryPlan& plan = row.plan->peak;
    cells.push_back({row.strategy, row.stage, plan.precision, rounded_bytes_text(plan.device_bytes),
                     rounded_bytes_text(plan.pinned_bytes), verdict_text(row.fits), largest_text(*row.plan, row.fits)});
  }
  std::vector<ColumnTable::Column> columns{{"strategy", 0, false}, {"stage", 0, false}, {"precision", 0, false},
                                           {"device", 0, true},    {"pinned", 0, true}, {"fits", 0, false},
                                           {"largest batch"}};
  for (const auto& row : cells) {
    for (size_t i = 0; i < row.size(); ++i) columns[i].width = std::max(columns[i].width, text_width(row[i]));
  }
  const ColumnTable table(columns);
  out << table.header();
  for (const auto& row : cells) out << table.row(row);
  for (const Row& row : rows) {
    if (!row.plan)
      out << row.strategy << (row.stage.empty() ? "" : " stage " + row.stage) << ": " << row.refusal << '\n';
  }
}

int plan_list(const CommandLine& line, std::ostream& out) {
  check_host_settings(line.settings);
  const RunConfig config = read_run_config(line.settings);
  plan_batch(config.train, config.run.nproc);
  const Capacity capacity = capacity_of(config);
  const std::vector<Row> rows = plan_all(line.settings);
  if (rows.empty()) throw Error(ExitCode::kUsage, "no strategy library was found; see host plugins list");
  if (!line.json) {
    out << "a rank of " << config.run.nproc << ", "
        << (capacity.device == UINT64_MAX ? "set device_budget to see what fits"
                                          : "which may take " + rounded_bytes_text(capacity.device) + " on the device")
        << "; largest batch: samples in a rank's micro-batch\n";
    print_rows(rows, out);
    return 0;
  }
  Json list = Json::array();
  for (const Row& row : rows) {
    Json one = row.plan ? to_json(*row.plan, capacity, config.run.nproc) : Json{{"strategy", row.strategy}};
    one["stage"] = row.stage.empty() ? Json(nullptr) : Json(row.stage);
    one["largest_batch"] = row.plan && row.plan->largest_batch ? Json(*row.plan->largest_batch) : Json(nullptr);
    one["refusal"] = row.refusal.empty() ? Json(nullptr) : Json(row.refusal);
    list.push_back(std::move(one));
  }
  out << list.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  return 0;
}

}  // namespace

int plan(const CommandLine& line, std::ostream& out) {
  if (read_component_names(line.settings).plugin.empty()) return plan_list(line, out);
  const RunSetup setup = set_up_run(line.settings, "", Probe::kChild);
  const int world = setup.config.run.nproc;
  const Capacity capacity = capacity_of(setup.config);
  const RunPlan run = plan_run(setup, capacity, false);
  if (line.json) {
    out << to_json(run, capacity, world).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    print_plan(run, capacity, world, out);
  }
  return static_cast<int>(fits(run.peak, capacity).value_or(true) ? ExitCode::kOk : ExitCode::kResource);
}

}  // namespace esp::cli
