#include "runtime/device/cpu/worker_pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

namespace esp::runtime {
namespace {

// The loops of one update follow one another closely: a worker looks so long before it sleeps, which saves the wake-up.
constexpr auto kLooksFor = std::chrono::microseconds(20);

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// ESPALIER_CPU_PIN=1, for processes that have their cores to themselves: two that share them would meet on the same
// cores. The first core is left to the thread that runs the loops.
void pin_if_asked(std::thread& thread, int32_t worker) {
  const char* asked = std::getenv("ESPALIER_CPU_PIN");
  cpu_set_t allowed;
  if (asked == nullptr || std::string(asked) != "1" || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int32_t place = (worker + 1) % CPU_COUNT(&allowed);
  for (int32_t core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || place-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);  // a refusal costs speed only
    return;
  }
}

}  // namespace

WorkerPool& WorkerPool::shared() {
  static WorkerPool& pool = *new WorkerPool;
  return pool;
}

void WorkerPool::run(int32_t threads, uint64_t n, uint64_t part, const Body& body) {
  const auto others =
      static_cast<int32_t>(std::min<uint64_t>(static_cast<uint64_t>(threads), (n + part - 1) / part)) - 1;
  Job job{body, n, part, others};
  {
    std::lock_guard lock(mutex_);
    grow(threads - 1);
    jobs_.push_back(&job);
    posted_.fetch_add(1, std::memory_order_release);
    for (int32_t i = std::min(others, asleep_); i > 0; --i) posting_.notify_one();
  }
  work_off(job);
  std::unique_lock lock(mutex_);
  std::erase(jobs_, &job);  // from here on nobody joins
  helper_left_.wait(lock, [&] { return job.helpers == 0; });
  if (job.failure) std::rethrow_exception(job.failure);
}

void WorkerPool::work_off(Job& job) {
  try {
    while (true) {
      const uint64_t lo = job.next.fetch_add(job.part, std::memory_order_relaxed);
      if (lo >= job.n) return;
      job.body(lo, std::min(job.n, lo + job.part));
    }
  } catch (...) {
    job.next.store(job.n, std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    if (!job.failure) job.failure = std::current_exception();
  }
}

void WorkerPool::grow(int32_t workers) {
  for (; workers_ < workers; ++workers_) {
    std::thread thread([this] { worker_loop(); });
    pthread_setname_np(thread.native_handle(), ("worker " + std::to_string(workers_)).substr(0, 15).c_str());
    pin_if_asked(thread, workers_);
    thread.detach();
  }
}

WorkerPool::Job* WorkerPool::open_job() {
  for (Job* job : jobs_) {
    if (job->places > 0 && job->next.load(std::memory_order_relaxed) < job->n) return job;
  }
  return nullptr;
}

void WorkerPool::worker_loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    Job* job = open_job();
    if (job == nullptr) {
      await_job(lock);
      continue;
    }
    --job->places;
    ++job->helpers;
    lock.unlock();
    work_off(*job);
    lock.lock();
    if (--job->helpers == 0) helper_left_.notify_all();
  }
}

// Returns, with the lock, when a job was posted after the call.
void WorkerPool::await_job(std::unique_lock<std::mutex>& lock) {
  const uint64_t known = posted_.load(std::memory_order_relaxed);
  const auto is_new = [&] { return posted_.load(std::memory_order_acquire) != known; };
  lock.unlock();
  const auto until = std::chrono::steady_clock::now() + kLooksFor;
  while (!is_new() && std::chrono::steady_clock::now() < until) relax();
  lock.lock();
  ++asleep_;
  posting_.wait(lock, is_new);
  --asleep_;
}

}  // namespace esp::runtime
