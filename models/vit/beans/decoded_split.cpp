#include "decoded_split.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "data_error.hpp"
#include "jpeg.hpp"
#include "resize.hpp"

namespace esp::vit {
namespace {

constexpr size_t kNamedInError = 4;  // as many as an esp_error has room for

// One job of decoding a split: threads take the next sample until none is left.
class SplitDecoder {
 public:
  SplitDecoder(const SampleSource& source, size_t split, ImageSize size, DecodedSplit& out)
      : source_(source), split_(split), size_(size), out_(out) {}

  void work() noexcept {
    try {
      Scratch scratch;
      for (uint64_t i = next_++; i < out_.count; i = next_++) decode(i, scratch);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      next_ = out_.count;
    }
  }

  // After all threads have joined. Lines "<name>: <reason>" in the order of samples.
  std::vector<std::string> damaged() {
    if (failure_) std::rethrow_exception(failure_);
    std::sort(damaged_.begin(), damaged_.end());
    std::vector<std::string> lines;
    for (auto& [index, line] : damaged_) lines.push_back(std::move(line));
    return lines;
  }

 private:
  struct Scratch {
    std::vector<uint8_t> file;
    RgbImage image;
    Resizer resizer;
  };

  void decode(uint64_t index, Scratch& scratch) {
    try {
      source_.read(split_, index, scratch.file);
      decode_jpeg(scratch.file, scratch.image);
    } catch (const DataError& error) {
      const std::string name = printable(source_.catalog().splits[split_].samples[index].name);
      const std::lock_guard lock(mutex_);
      damaged_.emplace_back(index, name + ": " + error.what());
      return;
    }
    uint8_t* pixels = out_.pixels.data() + index * size_.bytes();
    scratch.resizer.resize(scratch.image.pixels.data(), scratch.image.width, scratch.image.height, pixels, size_.width,
                           size_.height);
  }

  const SampleSource& source_;
  const size_t split_;
  const ImageSize size_;
  DecodedSplit& out_;
  std::atomic<uint64_t> next_{0};
  std::mutex mutex_;
  std::vector<std::pair<uint64_t, std::string>> damaged_;  // guarded by mutex_
  std::exception_ptr failure_;                             // guarded by mutex_
};

void run_on_threads(SplitDecoder& decoder, uint64_t workers) {
  std::vector<std::thread> threads;
  try {
    for (uint64_t i = 1; i < workers; ++i) threads.emplace_back([&decoder] { decoder.work(); });
  } catch (const std::system_error&) {
    // No more threads to be had: those that started, and this one, do the work.
  }
  decoder.work();
  for (std::thread& thread : threads) thread.join();
}

[[noreturn]] void refuse(const std::vector<std::string>& damaged) {
  std::string message = std::to_string(damaged.size()) + (damaged.size() == 1 ? " image" : " images") +
                        " cannot be used (replace or remove): ";
  for (size_t i = 0; i < std::min(damaged.size(), kNamedInError); ++i) message += (i ? "; " : "") + damaged[i];
  if (damaged.size() > kNamedInError) message += "; ...";
  throw DataError(message);
}

// A set that cannot fit is refused with numbers: memory is overcommitted, so taking it would end in a kill instead.
std::vector<uint8_t> allocate(uint64_t count, ImageSize size, const std::string& split) {
  const uint64_t memory =
      static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::string needed = std::to_string(count) + " decoded images of split " + split + " (" +
                             std::to_string(size.bytes()) + " bytes each)";
  if (count > memory / size.bytes()) {
    throw DataError(ESP_E_HOST_MEMORY, "this machine's memory of " + std::to_string(memory >> 20) +
                                           " MiB cannot hold the " + needed + "; set data.limit or a smaller image");
  }
  try {
    return std::vector<uint8_t>(count * size.bytes());
  } catch (const std::bad_alloc&) {
    throw DataError(ESP_E_HOST_MEMORY, "no memory left for the " + needed + "; set data.limit or a smaller image");
  }
}

}  // namespace

DecodedSplit decode_split(const SampleSource& source, size_t split, uint64_t count, ImageSize size, uint32_t workers,
                          const std::function<void(const std::string& line)>& on_damaged) {
  DecodedSplit out{count, allocate(count, size, source.catalog().splits[split].name)};
  SplitDecoder decoder(source, split, size, out);
  run_on_threads(decoder, std::clamp<uint64_t>(workers, 1, std::max<uint64_t>(count, 1)));
  const std::vector<std::string> damaged = decoder.damaged();
  for (size_t i = kNamedInError; i < damaged.size(); ++i) on_damaged(damaged[i]);
  if (!damaged.empty()) refuse(damaged);
  return out;
}

}  // namespace esp::vit
