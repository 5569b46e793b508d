// Something that happens once and can be waited for. One is made per record of an event: a counter per event would be
// wrong as soon as the event is recorded on two streams.
#pragma once

#include <condition_variable>
#include <mutex>

namespace esp::runtime {

class Completion {
 public:
  void signal() {
    std::lock_guard lock(mutex_);
    done_ = true;
    reached_.notify_all();  // under the lock: who waits may destroy this as soon as it is free
  }
  void wait() {
    std::unique_lock lock(mutex_);
    reached_.wait(lock, [this] { return done_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable reached_;
  bool done_ = false;
};

}  // namespace esp::runtime
