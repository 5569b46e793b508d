// The first failure of queued work on a device. Thread-safe.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>

namespace esp::runtime {

class Failure {
 public:
  void set(std::exception_ptr failure) noexcept {
    std::lock_guard lock(mutex_);
    if (first_ != nullptr) return;
    first_ = std::move(failure);
    failed_.store(true, std::memory_order_release);
  }
  bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  void check() const {
    if (!failed()) return;
    std::lock_guard lock(mutex_);
    std::rethrow_exception(first_);
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> failed_{false};
  std::exception_ptr first_;
};

}  // namespace esp::runtime
