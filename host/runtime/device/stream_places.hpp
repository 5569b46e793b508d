// The streams of a device by index, and the lowest index that is free.
#pragma once

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "error.hpp"
#include "runtime/device/update_block.hpp"

namespace esp::runtime {

// S: the device's class of streams. Thread-safe.
template <class S>
class StreamPlaces {
 public:
  // make(index) returns the stream, as a unique_ptr, which gets that place. Throws Error(kResource) when all are taken.
  template <class Make>
  auto add(const std::string& name, Make make) {
    std::lock_guard lock(mutex_);
    const auto free_place = std::find(streams_.begin(), streams_.end(), nullptr);
    const auto index = static_cast<uint32_t>(free_place - streams_.begin());
    if (index >= kMaxStreams) {
      throw Error(ExitCode::kResource, name + ": more than " + std::to_string(kMaxStreams) + " streams on one device");
    }
    auto stream = make(index);
    if (index == streams_.size()) streams_.push_back(nullptr);
    streams_[index] = stream.get();
    return stream;
  }
  void remove(uint32_t index) {
    std::lock_guard lock(mutex_);
    streams_[index] = nullptr;
  }
  // Those there are.
  std::vector<S*> all() const {
    std::lock_guard lock(mutex_);
    std::vector<S*> there;
    for (S* stream : streams_) {
      if (stream != nullptr) there.push_back(stream);
    }
    return there;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<S*> streams_;  // NULL where one has gone
};

}  // namespace esp::runtime
