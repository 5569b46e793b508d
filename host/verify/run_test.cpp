#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "error.hpp"
#include "report/json_text.hpp"
#include "supervisor/shared_file.hpp"
#include "verify/arena.hpp"
#include "verify/phase_note.hpp"
#include "verify/test_case.hpp"

namespace esp::verify {
namespace {

using Json = nlohmann::ordered_json;

// In memory that parent and child share: what is left of a child that died.
struct Note {
  char call[64];
  int rank;
  int64_t step, unit, pos;
  bool touched_reserved;
};

Note* g_note = nullptr;  // one for the process: a signal handler writes to it

Where where_of(const Note& note) { return {note.call, note.rank, note.step, note.unit, note.pos}; }

extern "C" void on_fault(int signal_number, siginfo_t* info, void*) {
  if (g_note != nullptr) g_note->touched_reserved = is_reserved(info->si_addr);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

Note* shared_note() {
  static Note* const note = [] {
    void* memory = mmap(nullptr, sizeof(Note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw Error(ExitCode::kResource, "no memory to share with a test's process");
    return static_cast<Note*>(memory);
  }();
  *note = {"", -1, -1, -1, -1, false};
  return note;
}

Json to_json(const Finding& finding) {
  const Where& where = finding.where;
  return {{"rule", finding.rule}, {"what", finding.what}, {"times", finding.times}, {"call", where.call},
          {"rank", where.rank},   {"step", where.step},   {"unit", where.unit},     {"pos", where.pos}};
}

Finding finding_of(const Json& json) {
  return {
      json["rule"], json["what"], {json["call"], json["rank"], json["step"], json["unit"], json["pos"]}, json["times"]};
}

// A test that cannot go on because of what it has found was not skipped.
void run_here(const TestCase& test, Findings& findings) {
  try {
    test.run(findings);
  } catch (const Skip&) {
    if (findings.empty()) throw;
  }
}

[[noreturn]] void run_child(const TestCase& test, unsigned limit_s, int result) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  alarm(limit_s);
  Findings findings;
  Json answer;
  try {
    run_here(test, findings);
    answer["findings"] = Json::array();
    for (const Finding& finding : findings.result()) answer["findings"].push_back(to_json(finding));
    answer["notes"] = findings.notes();
  } catch (const Skip& skip) {
    answer["skip"] = skip.reason;
  } catch (const std::exception& error) {
    answer["error"] = error.what();
  }
  write_all(result, json_text(answer));
  _exit(0);
}

Finding ending(int status, unsigned limit_s) {
  const Where where = where_of(*g_note);
  if (g_note->touched_reserved) return {"MEM-01", "memory of a dry run was touched", where};
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    return {"LIFE-06", "no answer within " + std::to_string(limit_s) + " s", where};
  }
  if (WIFSIGNALED(status)) return {"LIFE-05", std::string("ended by ") + strsignal(WTERMSIG(status)), where};
  return {"LIFE-05", "ended the process with exit code " + std::to_string(WEXITSTATUS(status)), where};
}

}  // namespace

void note_phase(const Where& where) {
  if (g_note == nullptr) return;
  std::strncpy(g_note->call, where.call.c_str(), sizeof g_note->call - 1);
  g_note->rank = where.rank;
  g_note->step = where.step;
  g_note->unit = where.unit;
  g_note->pos = where.pos;
}

TestResult run_test(const TestCase& test, unsigned limit_s) {
  TestResult result{test.group, test.name, Verdict::kPassed, "", {}, 0, {}};
  if (!test.skip.empty()) {
    result.verdict = Verdict::kSkipped;
    result.reason = test.skip;
    return result;
  }
  const auto begin = std::chrono::steady_clock::now();
  g_note = shared_note();
  const UniqueFd file = make_shared_file();
  const pid_t child = fork();
  if (child < 0) throw Error(ExitCode::kResource, std::string("no child process for a test: ") + strerror(errno));
  if (child == 0) run_child(test, limit_s, file.get());
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const Json answer = Json::parse(read_whole(file.get()), nullptr, false);
  if (answer.is_discarded() || !answer.is_object()) {
    result.findings.push_back(ending(status, limit_s));
  } else if (answer.contains("error")) {
    throw Error(ExitCode::kInternal, test.group + "/" + test.name + ": " + answer["error"].get<std::string>());
  } else if (answer.contains("skip")) {
    result.verdict = Verdict::kSkipped;
    result.reason = answer["skip"];
  } else {
    for (const Json& one : answer["findings"]) result.findings.push_back(finding_of(one));
    result.notes = answer["notes"];
  }
  if (!result.findings.empty()) result.verdict = Verdict::kFailed;
  return result;
}

TestResult run_test_in_process(const TestCase& test) {
  TestResult result{test.group, test.name, Verdict::kPassed, "", {}, 0, {}};
  const auto begin = std::chrono::steady_clock::now();
  Findings findings;
  try {
    if (!test.skip.empty()) throw Skip{test.skip};
    run_here(test, findings);
    result.findings = findings.result();
    result.notes = findings.notes();
    if (!result.findings.empty()) result.verdict = Verdict::kFailed;
  } catch (const Skip& skip) {
    result.verdict = Verdict::kSkipped;
    result.reason = skip.reason;
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace esp::verify
