// Threads that share the parts of big loops. LibTorch's are not used: its OpenMP regions end in busy waiting, cost more
// the more threads of the process start them, and are serial in sources that are built without OpenMP.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <vector>

namespace esp::runtime {

// Any number of threads may run loops at once; idle workers help whoever has parts left.
class WorkerPool {
 public:
  using Body = std::function<void(uint64_t lo, uint64_t hi)>;

  // Of the process. It is never destroyed, since streams of static storage may still use it.
  static WorkerPool& shared();

  // Calls body for parts of `part` elements that cover [0, n), on this thread and on at most threads - 1 workers.
  // Returns when all calls have; rethrows what the first of them threw.
  void run(int32_t threads, uint64_t n, uint64_t part, const Body& body);

 private:
  struct Job {
    const Body& body;
    const uint64_t n, part;
    int32_t places;                 // for further workers
    int32_t helpers = 0;            // workers that are at it
    std::atomic<uint64_t> next{0};  // first element that nobody has taken
    std::exception_ptr failure;
  };

  WorkerPool() = default;
  void work_off(Job& job);
  void grow(int32_t workers);
  void worker_loop();
  Job* open_job();
  void await_job(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;  // over all but Job::next and posted_'s readers
  std::condition_variable posting_, helper_left_;
  std::vector<Job*> jobs_;
  std::atomic<uint64_t> posted_{0};  // jobs so far
  int32_t workers_ = 0, asleep_ = 0;
};

}  // namespace esp::runtime
