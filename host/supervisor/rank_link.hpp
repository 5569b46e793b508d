// What passes between a supervisor and its ranks: names in the environment, records in a pipe, a page of shared memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "supervisor/unique_fd.hpp"

namespace esp {

// The supervisor's process id. A process whose parent has it is a rank; what a rank starts in turn is none.
inline constexpr const char* kSupervisorVariable = "ESPALIER_SUPERVISOR";
inline constexpr const char* kRunIdVariable = "ESPALIER_RUN_ID";        // separates runs that meet on one port
inline constexpr const char* kListenFdVariable = "ESPALIER_LISTEN_FD";  // rank 0: a listening socket for the store
inline constexpr const char* kReportFdVariable = "ESPALIER_REPORT_FD";  // where ranks write RankReports
inline constexpr const char* kPhaseFdVariable = "ESPALIER_PHASE_FD";    // memory with a PhaseCell per local rank

// Why a rank ends. One write() each: below PIPE_BUF, so records of several ranks never mix and arrive in order.
struct RankReport {
  int32_t rank = 0;
  int32_t exit_code = 0;
  char message[1016] = {};  // one line, terminated
};
static_assert(sizeof(RankReport) == 1024);

struct Phase {
  uint64_t in_plugin = 0;
  char text[240] = {};  // terminated
};

// The phases of one rank: texts that were written down once, and for each thread the number of the one that it is in.
// Words are relaxed atomics: a torn text is harmless, a data race is not. [any thread, async-signal-safe]
class PhaseCell {
 public:
  // The number of a text, written down where it is new. Once all places are taken the last one is used again.
  uint32_t name(const char* text, bool in_plugin);
  // A place for the number of another thread; the last one is shared by those that come too late.
  std::atomic<uint32_t>& add_thread();
  Phase load(const std::atomic<uint32_t>& thread) const;
  // Of the first thread that is in a plugin's code, else of the first one.
  Phase load() const;

 private:
  static constexpr uint32_t kPhases = 64;   // a run has some 50: the functions of its tables, and what the host says
  static constexpr uint32_t kThreads = 16;  // that call plugins: the main one, those of queues and of the data
  static constexpr int kWords = sizeof(Phase) / sizeof(uint64_t);
  using Words = std::atomic<uint64_t>[kWords];
  static Phase phase_of(const Words& words);

  std::atomic<uint32_t> threads_[kThreads] = {};  // 0: nothing was said yet; its text stays empty
  std::atomic<uint32_t> n_threads_ = 0;
  std::atomic<uint32_t> count_ = 0;  // of numbers given
  Words phases_[kPhases] = {};
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

// Cells that a process and its children share. Empty where the system gives none: phases are then unknown to the
// supervisor, nothing else changes.
class PhaseCells {
 public:
  PhaseCells() = default;
  PhaseCells(UniqueFd memory, int count);  // takes a memfd of at least `count` cells
  PhaseCells(PhaseCells&&) = delete;
  ~PhaseCells();
  static UniqueFd create_memory(int count);

  PhaseCell* cell(int index) const { return index < count_ ? cells_ + index : nullptr; }

 private:
  PhaseCell* cells_ = nullptr;
  int count_ = 0;
};

// True when this process was started by a supervisor of ours that still lives.
bool is_supervised();

// A non-negative number in the environment, or -1. For what our own supervisor wrote.
int number_from_environment(const char* variable);

// The cell of this process: shared with the supervisor when there is one, else private.
PhaseCell& own_phase();

// Of the calling thread; where it never said anything, what own_phase().load() answers. [async-signal-safe once
// own_phase() was called]
Phase phase_of_thread();

// Sends a record; false when there is nobody to read it. [async-signal-safe]
bool send_report(int fd, const RankReport& report);

// A text in one line: control characters become spaces.
std::string one_line(const std::string& text);

}  // namespace esp
