#include "supervisor/rank_link.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "supervisor/phase.hpp"

namespace esp {

void PhaseCell::store(const char* text, bool in_plugin) {
  Phase phase;
  phase.in_plugin = in_plugin;
  const size_t length = strnlen(text, sizeof phase.text - 1);
  std::memcpy(phase.text, text, length);
  uint64_t words[kWords];
  std::memcpy(words, &phase, sizeof words);
  // Words behind the terminator are never read, so a short text costs few stores.
  const size_t last = (offsetof(Phase, text) + length) / sizeof(uint64_t);
  for (size_t i = 0; i <= last; ++i) words_[i].store(words[i], std::memory_order_relaxed);
}

Phase PhaseCell::load() const {
  uint64_t words[kWords];
  for (int i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
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

void set_phase(const char* text, bool in_plugin) { own_phase().store(text, in_plugin); }

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
