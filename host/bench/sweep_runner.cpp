#include "bench/sweep_runner.hpp"

#include <cctype>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "bench/measure.hpp"
#include "config/value_text.hpp"
#include "error.hpp"
#include "report/durable_file.hpp"
#include "report/json_text.hpp"
#include "report/number_text.hpp"

namespace esp::bench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::chrono::milliseconds kGrace{35'000};  // a run finishes its step when it is asked to end
constexpr size_t kSlugLength = 48;

uint64_t fnv1a(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

RowStatus status_of(const ChildEnd& end, bool external, bool trained) {
  if (end.timed_out) return RowStatus::kTimeLimit;
  if (external) return RowStatus::kFailed;  // exit codes of others mean what they like
  const bool of_memory = end.reason().find("memory") != std::string::npos;
  const auto resource = static_cast<int>(ExitCode::kResource), lost = static_cast<int>(ExitCode::kPeerLost);
  if (of_memory && (end.exit_code == resource || end.exit_code == lost)) return RowStatus::kOutOfMemory;
  const bool refused = end.exit_code >= static_cast<int>(ExitCode::kUsage) && end.exit_code <= resource && !trained;
  return refused ? RowStatus::kRefused : RowStatus::kFailed;
}

// How one run ended, kept beside its folder so that a later call need not run it again.
struct Outcome {
  RowStatus status = RowStatus::kDone;
  int exit_code = 0;
  std::string reason, output;  // output: of an external program
};

std::string outcome_text(const Outcome& outcome) {
  return json_text({{"status", status_name(outcome.status)},
                    {"status_number", static_cast<int>(outcome.status)},
                    {"exit_code", outcome.exit_code},
                    {"reason", outcome.reason},
                    {"output", outcome.output}},
                   2) +
         "\n";
}

bool read_outcome(const fs::path& path, Outcome& outcome) {
  const Json json = Json::parse(read_file(path), nullptr, false);
  if (!json.is_object()) return false;
  const int status = json.value("status_number", -1);
  if (status < 0 || status > static_cast<int>(RowStatus::kFailed)) return false;
  outcome = {static_cast<RowStatus>(status), json.value("exit_code", 0), json.value("reason", ""),
             json.value("output", "")};
  return true;
}

// One row on its way: the case with the settings that were decided for it.
struct Pending {
  const SweepCase* one = nullptr;
  std::string settings;
  Row row;
  bool refused = false;  // before anything was started
};

class Runner {
 public:
  Runner(const std::vector<SweepCase>& cases, const SweepJob& job, StopSignals& signals, std::ostream& progress)
      : job_(job), signals_(signals), progress_(progress) {
    for (const SweepCase& one : cases) pending_.push_back(prepare(one));
    total_ = pending_.size() * static_cast<size_t>(job.options.repeats);
  }

  SweepEnd run() {
    for (int64_t repeat = 1; repeat <= job_.options.repeats && !end_.interrupted; ++repeat) {
      for (Pending& pending : pending_) {
        end_.interrupted = end_.interrupted || signals_.count() > 0;
        if (end_.interrupted) break;
        ++number_;
        if (pending.refused) {
          if (repeat == 1) tell(pending, status_name(pending.row.status) + std::string(": ") + pending.row.reason);
        } else {
          run_once(pending, repeat);
        }
      }
    }
    for (Pending& pending : pending_) {
      const bool has_ended = !pending.row.runs.empty() || !pending.row.done();
      if (has_ended) end_.rows.push_back(std::move(pending.row));
    }
    return std::move(end_);
  }

 private:
  Pending prepare(const SweepCase& one) const {
    Pending pending;
    pending.one = &one;
    pending.row.label = one.label();
    pending.row.swept = one.swept;
    pending.row.external = one.external();
    if (one.external()) {
      pending.row.plugin = one.name;
      for (const std::string& word : one.command) pending.settings += quoted(word) + "\n";
    } else {
      try {
        pending.settings = job_.resolve(one.settings);
      } catch (const SweepFault&) {
        throw;
      } catch (const Error& error) {
        pending.refused = true;
        pending.row.status = RowStatus::kRefused;
        pending.row.exit_code = static_cast<int>(error.code());
        pending.row.reason = printable(error.what());
      }
    }
    pending.row.id = case_id(one, pending.settings);
    return pending;
  }

  fs::path settings_file(const Pending& pending) const {
    return job_.folder / "runs" / pending.row.id / (pending.one->external() ? "command" : "case.toml");
  }

  void tell(const Pending& pending, const std::string& what) const {
    progress_ << "[" << number_ << "/" << total_ << "] " << pending.row.label << ": " << what << std::endl;
  }

  void run_once(Pending& pending, int64_t repeat) {
    const fs::path folder = job_.folder / "runs" / pending.row.id;
    const fs::path base = folder / std::to_string(repeat);
    const fs::path record = base.string() + ".json";
    Outcome outcome;
    const bool same = read_file(settings_file(pending)) == pending.settings;
    const bool known = same && read_outcome(record, outcome) && still_good(pending, outcome, base);
    if (!known) {
      tell(pending, "runs");
      start(pending, folder, base, outcome);
      if (end_.interrupted) return;
    }
    take(pending, repeat, base, outcome);
    if (!known) {
      write_whole_file(record, outcome_text(outcome));
      tell(pending, outcome.status == RowStatus::kDone
                        ? fixed(pending.row.runs.back().samples_per_second, 1) + " samples/s"
                        : status_name(outcome.status) + std::string(": ") + outcome.reason);
    }
  }

  bool still_good(const Pending& pending, const Outcome& outcome, const fs::path& base) const {
    if (outcome.status != RowStatus::kDone) return !job_.retry;
    std::error_code ignored;
    return pending.one->external() || fs::is_regular_file(base / "results.json", ignored);
  }

  void start(const Pending& pending, const fs::path& folder, const fs::path& base, Outcome& outcome) {
    std::error_code error;
    fs::remove_all(base, error);
    fs::create_directories(folder, error);
    if (error) throw Error(ExitCode::kResource, folder.string() + " cannot be made: " + error.message());
    const fs::path settings = settings_file(pending);
    write_whole_file(settings, pending.settings);
    std::vector<std::string> command = pending.one->command;
    if (!pending.one->external()) command = {job_.host, "run", "-c", settings.string(), "--out=" + base.string()};
    ++end_.runs_started;
    const ChildEnd end = run_child(command, job_.options.time_limit, kGrace, signals_);
    write_whole_file(base.string() + ".log", end.out + end.err);
    end_.interrupted = end.interrupted;
    outcome = {};
    if (end.exit_code == 0 && !end.timed_out) {
      if (pending.one->external()) outcome.output = end.out;
      return;
    }
    std::error_code ignored;
    outcome.status = status_of(end, pending.one->external(), fs::exists(base / "metrics.jsonl", ignored));
    outcome.exit_code = end.exit_code;
    outcome.reason = end.reason();
  }

  // Adds a run that has ended to its row.
  void take(Pending& pending, int64_t repeat, const fs::path& folder, Outcome& outcome) const {
    Row& row = pending.row;
    if (outcome.status == RowStatus::kDone && pending.one->external()) {
      outcome.reason = add_external_run(outcome.output, repeat, row);
      if (!outcome.reason.empty()) outcome.status = RowStatus::kFailed;
      if (!outcome.reason.empty()) outcome.output.clear();
    } else if (outcome.status == RowStatus::kDone) {
      try {
        add_run(folder, repeat, job_.options, row);
      } catch (const Error& error) {
        outcome = {RowStatus::kFailed, static_cast<int>(error.code()), printable(error.what()), ""};
      }
    }
    if (outcome.status == RowStatus::kDone || !row.done()) return;
    row.status = outcome.status;
    row.exit_code = outcome.exit_code;
    row.reason = (job_.options.repeats > 1 ? "run " + std::to_string(repeat) + ": " : "") + outcome.reason;
  }

  const SweepJob& job_;
  StopSignals& signals_;
  std::ostream& progress_;
  std::vector<Pending> pending_;
  size_t number_ = 0, total_ = 0;
  SweepEnd end_;
};

}  // namespace

std::string case_id(const SweepCase& one, const std::string& settings) {
  std::string slug;
  for (const char c : one.label()) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_';
    if (plain) slug += c;
    if (!plain && !slug.empty() && slug.back() != '-') slug += '-';
    if (slug.size() == kSlugLength) break;
  }
  char hash[17];
  std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(fnv1a(one.label() + "\n" + settings)));
  return slug + "-" + hash;
}

SweepEnd run_sweep(const std::vector<SweepCase>& cases, const SweepJob& job, StopSignals& signals,
                   std::ostream& progress) {
  return Runner(cases, job, signals, progress).run();
}

}  // namespace esp::bench
