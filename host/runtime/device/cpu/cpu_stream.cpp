#include "runtime/device/cpu/cpu_stream.hpp"

#include <pthread.h>

#include <memory>
#include <utility>

#include "runtime/device/cpu/completion.hpp"

namespace esp::runtime {

CpuStream::CpuStream(StreamFacts facts, Failure& failure, std::function<void(uint32_t)> retire)
    : facts_(std::move(facts)), failure_(failure), retire_(std::move(retire)), thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), facts_.name.substr(0, 15).c_str());
}

CpuStream::~CpuStream() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  more_.notify_one();
  thread_.join();
  retire_(facts_.index);
}

esp_stream CpuStream::handle() const {
  return reinterpret_cast<esp_stream>(const_cast<CpuStream*>(this));  // opaque to plugins
}

void CpuStream::add(Item item) {
  bool was_empty = false;
  {
    std::lock_guard lock(mutex_);
    was_empty = queue_.empty();
    queue_.push_back(std::move(item));
  }
  if (was_empty) more_.notify_one();
}

void CpuStream::wait_idle() {
  auto idle = std::make_shared<Completion>();
  push_always([idle] { idle->signal(); });
  idle->wait();
}

void CpuStream::run() {
  std::vector<Item> batch;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      more_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      batch.swap(queue_);
    }
    for (Item& item : batch) work_off(item);
    batch.clear();
  }
}

void CpuStream::work_off(Item& item) {
  if (failure_.failed() && !item.always) {
    item.work = nullptr;
    return;
  }
  try {
    item.work();
  } catch (...) {
    failure_.set(std::current_exception());
  }
  item.work = nullptr;  // what it holds goes now, not at the end of the batch
}

}  // namespace esp::runtime
