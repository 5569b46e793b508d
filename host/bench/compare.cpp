#include "bench/compare.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "bench/measure.hpp"
#include "error.hpp"
#include "report/number_text.hpp"
#include "report/run_page.hpp"
#include "report/table.hpp"

namespace esp::bench {
namespace {

constexpr double kSignificance = 0.01;
constexpr double kMarginOfOneRun = 0.05;
constexpr double kLossTolerance = 0.05;  // relative; strategies and precisions may differ by rounding

double mean_loss(const Row& row) {
  double sum = 0;
  for (const RunMeasure& run : row.runs) sum += run.train_loss;
  return sum / static_cast<double>(row.runs.size());
}

bool same_work(const Row& a, const Row& b) {
  const double loss_a = mean_loss(a), loss_b = mean_loss(b);
  if (std::isnan(loss_a) || std::isnan(loss_b)) return true;  // nobody knows
  return std::abs(loss_a - loss_b) <= kLossTolerance * std::max(std::abs(loss_a), std::abs(loss_b));
}

std::vector<double> flat(const Runs& runs) {
  std::vector<double> all;
  for (const auto& run : runs) all.insert(all.end(), run.begin(), run.end());
  return all;
}

Verdict judge(const Comparison& compared, const Row& a, const Row& b) {
  if (!same_work(a, b)) return Verdict::kOtherWork;
  if (compared.test.p >= kSignificance) return Verdict::kEqual;
  const double margin = compared.one_run ? kMarginOfOneRun : 0;
  if (compared.ratio.low > 1 + margin) return Verdict::kSlower;
  return compared.ratio.high < 1 / (1 + margin) ? Verdict::kFaster : Verdict::kEqual;
}

const char* verdict_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::kFaster:
      return "faster";
    case Verdict::kEqual:
      return "equal within noise";
    case Verdict::kSlower:
      return "slower";
    case Verdict::kOtherWork:
      return "not the same work: training losses differ";
    case Verdict::kLost:
      return "no numbers any more";
  }
  return "";
}

// "first -> second"; only when a row has both is there a column of them.
using Pair = std::array<double, 2>;
bool both_known(const Pair& pair) { return std::isfinite(pair[0]) && std::isfinite(pair[1]); }
std::string pair_text(const Pair& pair, int decimals) {
  return both_known(pair) ? fixed(pair[0], decimals) + " -> " + fixed(pair[1], decimals) : "n/a";
}

using Cell = std::function<std::string(const Comparison&)>;
struct CompareColumn {
  ColumnTable::Column column;
  Cell cell;
};

std::vector<CompareColumn> columns_for(const std::vector<Comparison>& rows) {
  const auto measured = [](Cell cell) -> Cell {
    return
        [cell = std::move(cell)](const Comparison& row) { return row.verdict == Verdict::kLost ? "n/a" : cell(row); };
  };
  const auto any = [&](Pair Comparison::*pair) {
    return std::any_of(rows.begin(), rows.end(), [&](const Comparison& row) { return both_known(row.*pair); });
  };
  std::vector<CompareColumn> columns{
      {{"case", 0, false}, [](const Comparison& row) { return row.label; }},
      {{"step time, second / first"}, measured([](const Comparison& row) { return fixed(row.ratio.middle, 4); })},
      {{"95 % interval"},
       measured([](const Comparison& row) { return fixed(row.ratio.low, 4) + " - " + fixed(row.ratio.high, 4); })},
      {{"p (rank test)"}, measured([](const Comparison& row) {
         return row.test.p < 1e-4 ? scientific(row.test.p) : fixed(row.test.p, 4);
       })}};
  if (any(&Comparison::exposed_ms)) {
    columns.push_back({{"exposed ms"}, [](const Comparison& row) { return pair_text(row.exposed_ms, 2); }});
  }
  if (any(&Comparison::joules_per_sample)) {
    columns.push_back({{"J/sample"}, [](const Comparison& row) { return pair_text(row.joules_per_sample, 3); }});
  }
  columns.push_back({{"verdict", 0, false}, [](const Comparison& row) { return verdict_text(row.verdict); }});
  return columns;
}

}  // namespace

std::vector<Comparison> compare(const SweepResult& first, const SweepResult& second) {
  if (first.protocol != second.protocol) {
    throw Error(ExitCode::kUsage,
                "the two were measured by different protocols: " + first.protocol + " and " + second.protocol);
  }
  std::vector<Comparison> rows;
  for (const Row& a : first.rows) {
    if (!a.done() || a.step_times().empty()) continue;
    for (const Row& b : second.rows) {
      if (a.label != b.label) continue;
      Comparison compared{.label = a.label};
      compared.exposed_ms = {a.exposed_ms(), b.exposed_ms()};
      compared.joules_per_sample = {a.joules_per_sample(), b.joules_per_sample()};
      if (!b.done() || b.step_times().empty()) {
        compared.verdict = Verdict::kLost;
      } else {
        const Runs times_a = a.step_times(), times_b = b.step_times();
        compared.ratio = ratio_of_medians(times_a, times_b);
        compared.test = mann_whitney(flat(times_a), flat(times_b));
        compared.one_run = times_a.size() < 2 || times_b.size() < 2;
        compared.verdict = judge(compared, a, b);
      }
      rows.push_back(std::move(compared));
      break;
    }
  }
  if (rows.empty()) throw Error(ExitCode::kUsage, "the two have no case in common that has step times");
  return rows;
}

int exit_code_of(const std::vector<Comparison>& rows) {
  return std::all_of(rows.begin(), rows.end(), [](const Comparison& row) { return row.passes(); }) ? 0 : 1;
}

void print_comparison(std::ostream& out, const std::vector<Comparison>& rows) {
  std::vector<ColumnTable::Column> columns;
  std::vector<std::vector<std::string>> cells(rows.size());
  for (CompareColumn& column : columns_for(rows)) {
    for (size_t i = 0; i < rows.size(); ++i) {
      cells[i].push_back(column.cell(rows[i]));
      column.column.width = std::max(column.column.width, text_width(cells[i].back()));
    }
    columns.push_back(std::move(column.column));
  }
  const ColumnTable table(std::move(columns));
  out << table.header();
  for (const auto& row : cells) out << table.row(row);
  if (std::any_of(rows.begin(), rows.end(), [](const Comparison& row) { return row.one_run; })) {
    out << "One run a case does not show what differs from run to run: there only more than 5 % counts. "
           "bench.repeats = 5 makes it sharper.\n";
  }
}

SweepResult load_measurements(const std::filesystem::path& folder) {
  if (holds_sweep(folder)) return read_result(folder);
  if (!holds_run(folder)) {
    throw Error(ExitCode::kUsage, folder.string() +
                                      " holds neither a sweep (sweep.json, rows.jsonl) nor a finished run "
                                      "(results.json, metrics.jsonl)");
  }
  SweepResult result;
  result.protocol = protocol_name(Protocol::kHonest);
  Row row;
  row.label = "the run";
  add_run(folder, 1, BenchOptions{}, row);
  result.rows.push_back(std::move(row));
  return result;
}

}  // namespace esp::bench
