#include "verify/leftovers.hpp"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>

namespace esp::verify {
namespace {

constexpr size_t kLeastLeak = 24;  // bytes an instance: what malloc takes for one byte is 32
constexpr int kRounds = 5;         // of which each must grow: what grows once is a cache
constexpr std::chrono::milliseconds kExit{2000};

size_t count_in(const char* folder) {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

// A thread that was joined stays in the list for a moment.
bool threads_return_to(size_t before) {
  const auto end = std::chrono::steady_clock::now() + kExit;
  while (count_in("/proc/self/task") > before) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace

void check_leftovers(const std::function<void()>& once, int times, Findings& findings) {
  mallopt(M_ARENA_MAX, 1);  // one heap to look at
  for (int i = 0; i < times; ++i) once();
  const size_t threads = count_in("/proc/self/task"), files = count_in("/proc/self/fd");
  size_t left[kRounds];
  for (size_t& bytes : left) {
    const size_t before = mallinfo2().uordblks;
    for (int i = 0; i < times; ++i) once();
    const size_t after = mallinfo2().uordblks;
    bytes = after > before ? (after - before) / static_cast<size_t>(times) : 0;
  }
  const Where where{"destroy"};
  if (*std::min_element(left, left + kRounds) >= kLeastLeak) {
    findings.add("LIFE-03", std::to_string(left[kRounds - 1]) + " bytes of heap are left by each instance", where);
  }
  if (!threads_return_to(threads)) findings.add("LIFE-03", "threads are left", where);
  if (count_in("/proc/self/fd") != files) findings.add("LIFE-03", "open files are left", where);
}

}  // namespace esp::verify
