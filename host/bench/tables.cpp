#include "bench/tables.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "bench/scaling.hpp"
#include "config/value_text.hpp"
#include "report/number_text.hpp"
#include "report/result_keys.hpp"
#include "report/table.hpp"

namespace esp::bench {
namespace {

constexpr const char* kUnknownText = "n/a";

std::string number(double value, int decimals) { return std::isfinite(value) ? fixed(value, decimals) : kUnknownText; }

std::string bytes(double value) {
  return std::isfinite(value) && value >= 0 ? rounded_bytes_text(static_cast<uint64_t>(value)) : kUnknownText;
}

std::string swept_value(const Row& row, const std::string& key) {
  for (const auto& [name, value] : row.swept) {
    if (name == key) return value;
  }
  return "";
}

std::string ending(const Row& row) {
  if (row.done()) return "done";
  return status_name(row.status) + std::string(" (exit code ") + std::to_string(row.exit_code) + ")";
}

std::string range(const Row& row) {
  if (!std::isfinite(row.p5()) || !std::isfinite(row.p95())) return kUnknownText;
  return number(row.p5(), 2) + " - " + number(row.p95(), 2);
}

// In both places, and of that in host memory.
struct MemoryColumn {
  std::map<std::string, double> Row::*bytes;
  const char *title, *csv_name;  // follow the tag
};
constexpr MemoryColumn kMemoryColumns[] = {{&Row::memory_bytes, "", "_bytes"},
                                           {&Row::memory_bytes_pinned, ", pinned", "_pinned_bytes"}};

std::set<std::string> memory_tags(const SweepResult& result, const MemoryColumn& column) {
  std::set<std::string> tags;
  for (const Row& row : result.rows) {
    for (const auto& [tag, amount] : row.*column.bytes) {
      if (amount > 0) tags.insert(tag);
    }
  }
  return tags;
}

std::set<std::string> collective_names(const SweepResult& result) {
  std::set<std::string> names;
  for (const Row& row : result.rows) {
    for (const auto& [name, count] : row.collectives) {
      if (count.bytes > 0) names.insert(name);
    }
  }
  return names;
}

bool any_external(const SweepResult& result) {
  return std::any_of(result.rows.begin(), result.rows.end(), [](const Row& row) { return row.external; });
}

std::string last_part(const std::string& key) { return key.substr(key.rfind('.') + 1); }

// Fills a table column by column.
class Filler {
 public:
  explicit Filler(const SweepResult& result) : result_(result) { cells_.rows.resize(result.rows.size()); }
  void add(const std::string& title, const std::function<std::string(const Row&)>& cell) {
    cells_.titles.push_back(title);
    for (size_t i = 0; i < cells_.rows.size(); ++i) cells_.rows[i].push_back(cell(result_.rows[i]));
  }
  // Of rows without a measurement the cell is empty.
  void add_measured(const std::string& title, const std::function<std::string(const Row&)>& cell) {
    add(title, [&](const Row& row) { return row.done() ? cell(row) : ""; });
  }
  Cells take() { return std::move(cells_); }

 private:
  const SweepResult& result_;
  Cells cells_;
};

void add_case(Filler& filler, const SweepResult& result) {
  if (any_external(result)) {
    filler.add("program", [](const Row& row) { return row.external ? row.plugin : std::string("host"); });
  } else if (result.keys.empty()) {
    filler.add("case", [](const Row& row) { return row.label; });
  }
  for (const std::string& key : result.keys) {
    filler.add(last_part(key), [&](const Row& row) { return swept_value(row, key); });
  }
}

bool any_scales(const SweepResult& result) {
  return std::any_of(result.rows.begin(), result.rows.end(), [&](const Row& row) {
    return row.world_size > 1 && std::isfinite(scaling_efficiency(result, row));
  });
}

void add_speed(Filler& filler, const SweepResult& result) {
  filler.add_measured("samples/s", [](const Row& row) { return number(row.samples_per_second(), 2); });
  if (result.repeats > 1) {
    filler.add_measured("run to run", [](const Row& row) {
      return std::isfinite(row.rate_spread()) ? fixed(100 * row.rate_spread(), 1) + " %" : kUnknownText;
    });
  }
  if (any_scales(result)) {
    filler.add_measured("scaling", [&](const Row& row) { return number(scaling_efficiency(result, row), 3); });
  }
  filler.add_measured("step ms", [](const Row& row) { return number(row.median(), 2); });
  filler.add_measured("p5 - p95", range);
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string escaped = "\"";
  for (const char c : text) escaped += c == '"' ? "\"\"" : std::string(1, c);
  return escaped + "\"";
}

std::string exact(double value) { return std::isfinite(value) ? number_text(value) : ""; }

// Whether a row has it: a column of unknowns alone says nothing on the console.
bool any_has(const SweepResult& result, double (Row::*value)() const) {
  return std::any_of(result.rows.begin(), result.rows.end(),
                     [&](const Row& row) { return row.done() && std::isfinite((row.*value)()); });
}

std::string exposed(const Row& row) { return number(row.exposed_ms(), 2); }
std::string joules(const Row& row) { return number(row.joules_per_sample(), 3); }

std::string joined(const std::vector<std::string>& cells, const std::string& between) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) line += (i > 0 ? between : "") + cells[i];
  return line;
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) {
    line += ' ';
    for (const char c : cell) line += c == '|' ? "\\|" : std::string(1, c);
    line += " |";
  }
  return line + "\n";
}

}  // namespace

Cells table_cells(const SweepResult& result) {
  Filler filler(result);
  add_case(filler, result);
  add_speed(filler, result);
  filler.add_measured(
      "MFU", [](const Row& row) { return std::isfinite(row.mfu) ? fixed(100 * row.mfu, 1) + " %" : kUnknownText; });
  filler.add_measured("peak allocated", [](const Row& row) { return bytes(row.peak_allocated_bytes); });
  filler.add_measured("peak of device", [](const Row& row) { return bytes(row.peak_device_bytes); });
  for (const MemoryColumn& column : kMemoryColumns) {
    for (const std::string& tag : memory_tags(result, column)) {
      filler.add_measured(tag + column.title, [&](const Row& row) {
        const auto& by_tag = row.*column.bytes;
        return by_tag.contains(tag) ? bytes(by_tag.at(tag)) : kUnknownText;
      });
    }
  }
  for (const std::string& name : collective_names(result)) {
    filler.add_measured(name + " a step", [&](const Row& row) {
      return row.collectives.contains(name) ? bytes(row.collectives.at(name).bytes) : kUnknownText;
    });
  }
  filler.add_measured("exposed ms", exposed);
  filler.add_measured("J/sample", joules);
  filler.add_measured("train loss", [](const Row& row) { return number(row.runs.back().train_loss, 4); });
  filler.add("ending", [](const Row& row) { return row.done() ? "done" : ending(row) + ": " + row.reason; });
  return filler.take();
}

void print_table(std::ostream& out, const SweepResult& result) {
  Filler filler(result);
  add_case(filler, result);
  add_speed(filler, result);
  filler.add_measured("allocated", [](const Row& row) { return bytes(row.peak_allocated_bytes); });
  filler.add_measured("device", [](const Row& row) { return bytes(row.peak_device_bytes); });
  const bool many_ranks =
      std::any_of(result.rows.begin(), result.rows.end(), [](const Row& row) { return row.world_size > 1; });
  if (many_ranks) filler.add_measured("exposed ms", exposed);
  if (any_has(result, &Row::joules_per_sample)) filler.add_measured("J/sample", joules);
  filler.add("ending", ending);
  const Cells cells = filler.take();
  std::vector<ColumnTable::Column> columns;
  for (size_t i = 0; i < cells.titles.size(); ++i) {
    ColumnTable::Column column{cells.titles[i], 0, i > 0};
    for (const auto& row : cells.rows) column.width = std::max(column.width, text_width(row[i]));
    columns.push_back(std::move(column));
  }
  columns.back().right = false;
  const ColumnTable table(std::move(columns));
  out << table.header();
  for (const auto& row : cells.rows) out << table.row(row);
  for (const Row& row : result.rows) {
    if (!row.done()) out << row.label << ": " << row.reason << "\n";
  }
}

std::string table_markdown(const SweepResult& result, double budget) {
  const Cells cells = table_cells(result);
  std::string text = "# Sweep " + printable(result.name) + "\n\n" + markdown_row(cells.titles) + "|";
  for (size_t i = 0; i < cells.titles.size(); ++i) text += "---|";
  text += "\n";
  for (const auto& row : cells.rows) text += markdown_row(row);
  text += "\n";
  for (const std::string& line : winner_lines(result, budget)) text += "* " + line + "\n";
  text += "\n## What the numbers mean\n\n";
  for (const std::string& line : meanings(result)) text += "* " + line + "\n";
  text += "\n## Environment\n\n";
  for (const auto& [name, value] : result.environment) text += "* " + name + ": " + value + "\n";
  return text;
}

std::string table_csv(const SweepResult& result) {
  Filler filler(result);
  filler.add("case", [](const Row& row) { return row.label; });
  for (const std::string& key : result.keys) {
    filler.add(key, [&](const Row& row) { return swept_value(row, key); });
  }
  filler.add(keys::kPlugin, [](const Row& row) { return row.plugin; });
  filler.add(keys::kModel, [](const Row& row) { return row.model; });
  filler.add(keys::kDevice, [](const Row& row) { return row.device; });
  filler.add(keys::kPrecision, [](const Row& row) { return row.precision; });
  filler.add(keys::kWorldSize, [](const Row& row) { return std::to_string(row.world_size); });
  filler.add(keys::kGlobalBatchSize, [](const Row& row) { return std::to_string(row.global_batch_size); });
  filler.add("status", [](const Row& row) { return std::string(status_name(row.status)); });
  filler.add("exit_code", [](const Row& row) { return std::to_string(row.exit_code); });
  filler.add("reason", [](const Row& row) { return row.reason; });
  filler.add("runs", [](const Row& row) { return std::to_string(row.runs.size()); });
  filler.add_measured(keys::kSamplesPerSecond, [](const Row& row) { return exact(row.samples_per_second()); });
  filler.add_measured("scaling_efficiency", [&](const Row& row) { return exact(scaling_efficiency(result, row)); });
  filler.add_measured(keys::kStepMsMedian, [](const Row& row) { return exact(row.median()); });
  filler.add_measured(keys::kStepMsP5, [](const Row& row) { return exact(row.p5()); });
  filler.add_measured(keys::kStepMsP95, [](const Row& row) { return exact(row.p95()); });
  filler.add_measured(keys::kMfu, [](const Row& row) { return exact(row.mfu); });
  filler.add_measured(keys::kPeakAllocatedBytes, [](const Row& row) { return exact(row.peak_allocated_bytes); });
  filler.add_measured(keys::kPeakDeviceBytes, [](const Row& row) { return exact(row.peak_device_bytes); });
  for (const MemoryColumn& column : kMemoryColumns) {
    for (const std::string& tag : memory_tags(result, column)) {
      filler.add_measured(tag + column.csv_name, [&](const Row& row) {
        const auto& by_tag = row.*column.bytes;
        return by_tag.contains(tag) ? exact(by_tag.at(tag)) : "";
      });
    }
  }
  for (const std::string& name : collective_names(result)) {
    filler.add_measured(name + "_bytes_per_step", [&](const Row& row) {
      return row.collectives.contains(name) ? exact(row.collectives.at(name).bytes) : "";
    });
  }
  filler.add_measured(keys::kExposedCommunicationMs, [](const Row& row) { return exact(row.exposed_ms()); });
  filler.add_measured(keys::kJoulesPerStep, [](const Row& row) { return exact(row.joules_per_step()); });
  filler.add_measured(keys::kJoulesPerSample, [](const Row& row) { return exact(row.joules_per_sample()); });
  const Cells cells = filler.take();
  std::string text = joined(cells.titles, ",") + "\n";
  for (std::vector<std::string> row : cells.rows) {
    for (std::string& cell : row) cell = csv_cell(cell);
    text += joined(row, ",") + "\n";
  }
  return text;
}

std::vector<std::string> winner_lines(const SweepResult& result, double budget) {
  const Winners best = winners(result, budget);
  const auto said = [](const Row* row) {
    return row == nullptr ? std::string("none")
                          : row->label + " (" + number(row->samples_per_second(), 2) + " samples/s, " +
                                bytes(row->peak_allocated_bytes) + " allocated)";
  };
  std::vector<std::string> lines{"fastest: " + said(best.fastest), "smallest: " + said(best.smallest)};
  if (budget > 0) lines.push_back("fastest within " + bytes(budget) + ": " + said(best.fastest_within));
  return lines;
}

std::vector<std::string> meanings(const SweepResult& result) {
  std::vector<std::string> lines;
  if (result.protocol == protocol_name(Protocol::kSeed)) {
    lines = {
        "Protocol seed: 20 steps, no warm-up left out; samples/s = all samples / wall time of all steps, the first "
        "one included. Start-up cost is in it: at small batches it decides. Images come from the data set, not from "
        "a random generator on the device.",
        "step ms: median of all 20 steps on the device's clock; p5 - p95: the range of nine tenths of them."};
  } else {
    lines = {
        "samples/s: samples of the timed steps over the time they took, on the device's clock, waiting for data "
        "included. First steps are left out until step times are steady (or as bench.warmup says).",
        "step ms: median of the timed steps of all runs; p5 - p95: the range of nine tenths of them."};
  }
  if (result.repeats > 1) {
    lines.push_back(
        "run to run: samples/s of the fastest run minus that of the slowest, over the mean. Runs of the cases "
        "were interleaved.");
  }
  if (any_scales(result)) {
    lines.push_back(
        "scaling: samples/s over as many times those of the row with the same settings and one rank as the row has "
        "ranks; 1 is ideal.");
  }
  lines.insert(
      lines.end(),
      {"MFU: arithmetic of forward and backward (twice the forward) over what the devices could do "
       "(bench.peak_tflops); n/a where that is unknown. Recomputed activations do not count.",
       "peak allocated: host arenas, the tensor library's allocator and workspaces, on the rank with most, since "
       "its start; by kind beside it, as the host counts them. Peaks of kinds need not coincide.",
       "peak of device: what the device had in use; on a CPU the resident set of the process, libraries and "
       "decoded images included.",
       "exposed ms: of a step, how long the compute stream stood still while a collective was under way, mean over "
       "ranks; measured after the timed steps, which it does not touch.",
       "J/sample: what the GPUs of all ranks took by their own counters, whoever used them, over the last two thirds "
       "of the steps.",
       "n/a: nobody measured it. Rows that were refused or failed have no numbers.",
       "Rows whose train loss differs by more than noise did not do the same work: do not compare them."});
  if (!collective_names(result).empty()) {
    lines.push_back(
        "collectives a step: bytes of the larger of input and output of the calls of rank 0, a training step.");
  }
  if (any_external(result)) lines.push_back("External programs report their own numbers; nobody checked them.");
  return lines;
}

}  // namespace esp::bench
