#include "supervisor/rank_link.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <new>

#include "supervisor/phase.hpp"

namespace esp {
namespace {

thread_local std::atomic<uint32_t>* t_phase = nullptr;  // the thread's number in own_phase(); NULL: it has none yet

}  // namespace

// Two threads that name the same text at once may both write it down, which is harmless.
uint32_t PhaseCell::name(const char* text, bool in_plugin) {
  Phase phase;
  phase.in_plugin = in_plugin;
  std::memcpy(phase.text, text, strnlen(text, sizeof phase.text - 1));
  const uint32_t known = std::min(count_.load(std::memory_order_relaxed), kPhases - 1);
  for (uint32_t number = 1; number <= known; ++number) {
    const Phase other = phase_of(phases_[number]);
    if (other.in_plugin == phase.in_plugin && std::strcmp(other.text, phase.text) == 0) return number;
  }
  const uint32_t number = std::min(count_.fetch_add(1, std::memory_order_relaxed) + 1, kPhases - 1);
  uint64_t words[kWords];
  std::memcpy(words, &phase, sizeof words);
  for (int i = 0; i < kWords; ++i) phases_[number][i].store(words[i], std::memory_order_relaxed);
  return number;
}

std::atomic<uint32_t>& PhaseCell::add_thread() {
  return threads_[std::min(n_threads_.fetch_add(1, std::memory_order_relaxed), kThreads - 1)];
}

// The cell may have been written by a process that is broken: any number is possible.
Phase PhaseCell::load(const std::atomic<uint32_t>& thread) const {
  return phase_of(phases_[std::min(thread.load(std::memory_order_relaxed), kPhases - 1)]);
}

Phase PhaseCell::load() const {
  for (const std::atomic<uint32_t>& thread : threads_) {
    const Phase phase = load(thread);
    if (phase.in_plugin) return phase;
  }
  return load(threads_[0]);
}

Phase PhaseCell::phase_of(const Words& from) {
  uint64_t words[kWords];
  for (int i = 0; i < kWords; ++i) words[i] = from[i].load(std::memory_order_relaxed);
  Phase phase;
  std::memcpy(&phase, words, sizeof phase);
  phase.text[sizeof phase.text - 1] = 0;
  return phase;
}

UniqueFd PhaseCells::create_memory(int count) {
  UniqueFd memory(memfd_create("espalier phases", MFD_CLOEXEC));
  if (!memory || ftruncate(memory.get(), static_cast<off_t>(sizeof(PhaseCell)) * count) != 0) return {};
  return memory;
}

PhaseCells::PhaseCells(UniqueFd memory, int count) {
  const size_t bytes = sizeof(PhaseCell) * count;
  struct stat status {};
  // Touching a mapping beyond the file's end would be a SIGBUS.
  if (!memory || fstat(memory.get(), &status) != 0 || static_cast<size_t>(status.st_size) < bytes) return;
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (mapped == MAP_FAILED) return;
  cells_ = static_cast<PhaseCell*>(mapped);  // zeroed by the kernel: valid cells with empty texts
  count_ = count;
}

PhaseCells::~PhaseCells() {
  if (cells_) munmap(cells_, sizeof(PhaseCell) * count_);
}

int number_from_environment(const char* variable) {
  const char* text = std::getenv(variable);
  if (!text) return -1;
  int number = -1;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), number);
  return error == std::errc() && *end == 0 ? number : -1;
}

bool is_supervised() {
  const int supervisor = number_from_environment(kSupervisorVariable);
  return supervisor > 0 && supervisor == getppid();
}

PhaseCell& own_phase() {
  static PhaseCell private_cell;
  static PhaseCell& cell = []() -> PhaseCell& {
    const int fd = number_from_environment(kPhaseFdVariable);
    const int index = number_from_environment("LOCAL_RANK");
    if (!is_supervised() || fd < 0 || index < 0) return private_cell;
    static PhaseCells shared(UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0)), index + 1);
    PhaseCell* mine = shared.cell(index);
    return mine ? *mine : private_cell;
  }();
  return cell;
}

uint32_t name_phase(const char* text, bool in_plugin) { return own_phase().name(text, in_plugin); }

std::atomic<uint32_t>& current_phase() {
  if (t_phase == nullptr) t_phase = &own_phase().add_thread();
  return *t_phase;
}

Phase phase_of_thread() { return t_phase == nullptr ? own_phase().load() : own_phase().load(*t_phase); }

void set_phase(const char* text, bool in_plugin) {
  current_phase().store(name_phase(text, in_plugin), std::memory_order_relaxed);
}

bool send_report(int fd, const RankReport& report) {
  ssize_t written = 0;
  do written = write(fd, &report, sizeof report);
  while (written < 0 && errno == EINTR);
  return written == static_cast<ssize_t>(sizeof report);
}

std::string one_line(const std::string& text) {
  std::string line = text;
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

}  // namespace esp
