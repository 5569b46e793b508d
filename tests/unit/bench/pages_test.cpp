// Tables and pages of a sweep, hostile texts in them included.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <vector>

#include "bench/scaling.hpp"
#include "bench/sweep_page.hpp"
#include "bench/tables.hpp"
#include "error.hpp"
#include "report/run_page.hpp"
#include "sample_rows.hpp"
#include "support/scratch.hpp"

namespace esp::bench {
namespace {

using esp::test::read_file;
using esp::test::Scratch;
using test::refused_row;
using test::result_of;
using test::row_of;

constexpr const char* kHostile = "<script>alert(1)</script> & \"x\", | \xff";

// Empty when every tag is closed in order, every attribute is quoted and every & begins an entity; else what is wrong.
std::string fault_of(const std::string& page) {
  std::vector<std::string> open;
  for (size_t at = 0; at < page.size(); ++at) {
    if (page[at] == '&' && page.find(';', at) - at > 5) return "a bare & at " + page.substr(at, 20);
    if (page[at] == '>') return "a bare > at " + page.substr(at, 20);
    if (page[at] != '<') continue;
    const size_t end = page.find('>', at);
    if (end == std::string::npos) return "an unfinished tag";
    const std::string tag = page.substr(at + 1, end - at - 1);
    at = end;
    if (tag.starts_with("!") || tag.ends_with("/")) continue;
    if (tag.find('<') != std::string::npos || std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "tag " + tag;
    if (!tag.starts_with("/")) {
      open.push_back(tag.substr(0, tag.find(' ')));
    } else if (open.empty() || open.back() != tag.substr(1)) {
      return "unexpected " + tag;
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : "unclosed " + open.back();
}

SweepResult hostile_result() {
  Row named = row_of("libddp.so", 10, 3000);
  named.label = kHostile;
  return result_of(
      {named, row_of("libzero.so", 12, 1000), row_of("libgemini.so", 40, 500), refused_row("none", kHostile)});
}

TEST(SweepPage, IsWellFormedWhateverItsTextsHold) {
  const std::string page = sweep_page(hostile_result(), 2000);
  EXPECT_EQ(fault_of(page), "");
  EXPECT_EQ(page.find("<script"), std::string::npos);
}

TEST(SweepPage, NeedsNothingFromElsewhere) {
  const std::string page = sweep_page(hostile_result(), 0);
  for (const char* reference : {"src=", "href=", "@import", "url("}) {
    EXPECT_EQ(page.find(reference), std::string::npos) << reference;
  }
  EXPECT_NE(page.find("<svg"), std::string::npos);
}

TEST(SweepPage, EndsWithTheFastestTheSmallestAndTheFastestWithinTheBudget) {
  const std::string page =
      sweep_page(result_of({row_of("quick", 10, 3000), row_of("middle", 12, 1000), row_of("tiny", 40, 500)}), 2000);
  const size_t fastest = page.rfind("fastest: quick"), smallest = page.rfind("smallest: tiny"),
               within = page.rfind("fastest within 2.0 KiB: middle");
  EXPECT_LT(page.rfind("<h2>"), fastest);
  EXPECT_LT(fastest, smallest);
  EXPECT_LT(smallest, within);
  EXPECT_NE(within, std::string::npos);
}

TEST(SweepPage, OfRefusalsAloneIsAPageToo) {
  const std::string page = sweep_page(result_of({refused_row("a", "no"), refused_row("b", "no")}), 100);
  EXPECT_EQ(fault_of(page), "");
  EXPECT_NE(page.find("fastest: none"), std::string::npos);
}

TEST(Tables, QuoteWhatCsvWouldSplit) {
  const std::string csv = table_csv(hostile_result());
  EXPECT_NE(csv.find("\"<script>alert(1)</script> & \"\"x\"\", | \xff\",libddp.so"), std::string::npos);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5);
  EXPECT_NE(csv.find(",parameters_bytes,optimizer_pinned_bytes"), std::string::npos) << csv;
}

TEST(Tables, EscapeBarsInMarkdown) {
  EXPECT_NE(table_markdown(hostile_result(), 0).find("\"x\", \\| "), std::string::npos);
}

TEST(Tables, ShowAReasonForEveryRowWithoutNumbers) {
  std::ostringstream out;
  print_table(out, result_of({row_of("a", 10, 1), refused_row("b", "L01 b: not found")}));
  EXPECT_NE(out.str().find("refused (exit code 3)"), std::string::npos);
  EXPECT_NE(out.str().find("b: L01 b: not found\n"), std::string::npos);
}

// Of two ranks, with what a GPU tells.
Row measured_row() {
  Row row = row_of("a", 10, 1, 1);
  row.world_size = 2;
  row.runs[0].exposed_ms = 1.25;
  row.runs[0].joules_per_sample = 0.5;
  row.runs[0].joules_per_step = 4;
  return row;
}

TEST(Tables, ShowExposedCommunicationAndJoules) {
  const SweepResult result = result_of({measured_row(), row_of("b", 10, 1)});
  std::ostringstream out;
  print_table(out, result);
  for (const std::string& text : {out.str(), table_markdown(result, 0), sweep_page(result, 0)}) {
    for (const char* part : {"exposed ms", "1.25", "J/sample", "0.500", "n/a"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
    }
  }
  EXPECT_NE(sweep_page(result, 0).find("exposed communication in ms"), std::string::npos);
  EXPECT_EQ(fault_of(sweep_page(result, 0)), "");
  const std::string csv = table_csv(result);
  EXPECT_NE(csv.find("exposed_communication_ms,joules_per_step,joules_per_sample\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find(",1.25,4.0,0.5\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find(",,,\n"), std::string::npos) << csv;
}

// The same program, alone or not.
Row rank_row(const std::string& program, int64_t ranks, double ms) {
  Row row = row_of(program, ms, 1, 1);
  row.swept = {{"run.nproc", std::to_string(ranks)}, {"train.batch_size", "8"}};
  row.world_size = ranks;
  row.external = program.find(".so") == std::string::npos;
  if (!row.external) row.swept.emplace_back("run.plugin", program);
  return row;
}

TEST(Tables, ShowHowRanksScaleBesideTheRowOfOneRank) {
  Row other_batch = rank_row("a.so", 1, 99);
  other_batch.swept[1].second = "32";
  const SweepResult result =
      result_of({other_batch, rank_row("b.so", 1, 99), rank_row("a.so", 1, 10), rank_row("peer", 1, 10),
                 rank_row("a.so", 4, 3), rank_row("peer", 2, 8), rank_row("c.so", 2, 10)});
  EXPECT_NEAR(scaling_efficiency(result, result.rows[4]), 10.0 / 3 / 4, 1e-9);
  EXPECT_NEAR(scaling_efficiency(result, result.rows[5]), 10.0 / 8 / 2, 1e-9);
  EXPECT_EQ(scaling_efficiency(result, result.rows[2]), 1);
  EXPECT_TRUE(std::isnan(scaling_efficiency(result, result.rows[6]))) << "nobody ran it alone";
  std::ostringstream out;
  print_table(out, result);
  EXPECT_NE(out.str().find("0.833"), std::string::npos) << out.str();
  EXPECT_NE(table_markdown(result, 0).find("| scaling |"), std::string::npos);
  EXPECT_NE(table_csv(result).find(",scaling_efficiency,"), std::string::npos);
}

TEST(Tables, LeaveOutOnTheConsoleWhatNoRowHas) {
  std::ostringstream out;
  print_table(out, result_of({row_of("a", 10, 1)}));
  EXPECT_EQ(out.str().find("exposed"), std::string::npos);
  EXPECT_EQ(out.str().find("scaling"), std::string::npos);
  EXPECT_EQ(out.str().find("J/sample"), std::string::npos);
}

TEST(Tables, SayWhichProtocolWasUsed) {
  SweepResult seed = result_of({row_of("a", 10, 1)});
  seed.protocol = "seed";
  EXPECT_NE(table_markdown(seed, 0).find("Protocol seed: 20 steps, no warm-up"), std::string::npos);
}

TEST(SweepResult, IsReadBackAsItWasWritten) {
  const Scratch scratch;
  const SweepResult result = hostile_result();
  write_result(scratch.path(), result);
  ASSERT_TRUE(holds_sweep(scratch.path()));
  const SweepResult back = read_result(scratch.path());
  EXPECT_EQ(back.keys, result.keys);
  EXPECT_EQ(back.environment, result.environment);
  ASSERT_EQ(back.rows.size(), 4u);
  EXPECT_EQ(to_json_line(back.rows[1]), to_json_line(result.rows[1]));
}

TEST(SweepResult, DamagedOnDiskIsRefused) {
  const Scratch scratch;
  write_result(scratch.path(), hostile_result());
  scratch.write("rows.jsonl", "{}\n");
  EXPECT_THROW(read_result(scratch.path()), Error);
  scratch.write("sweep.json", "{");
  EXPECT_THROW(read_result(scratch.path()), Error);
}

TEST(RunPage, ShowsCurvesAndNumbersOfARun) {
  const Scratch scratch;
  scratch.write("results.json", R"({"model": "vit <tiny>", "plugin": "libddp.so", "device": "cpu", "mfu": null,
                                   "memory_bytes": {"parameters": 3000}, "peak_allocated_bytes": 9000})");
  std::string lines;
  for (int step = 1; step <= 5000; ++step) {
    lines +=
        "{\"step\": " + std::to_string(step) + ", \"loss\": 0.5, \"lr\": 1e-3, \"step_ms\": 7, \"grad_norm\": null}\n";
  }
  scratch.write("metrics.jsonl", lines + "{\"event\": \"eval\", \"step\": 5000, \"eval_loss\": 0.4}\n");
  ASSERT_TRUE(holds_run(scratch.path()));
  write_run_page(scratch.path());
  const std::string page = read_file(scratch.path() / "report.html");
  EXPECT_EQ(fault_of(page), "");
  EXPECT_NE(page.find("training loss"), std::string::npos);
  EXPECT_NE(page.find("peak memory"), std::string::npos);
  EXPECT_LT(page.size(), 200'000u);  // long curves are thinned
}

}  // namespace
}  // namespace esp::bench
