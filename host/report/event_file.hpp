// A TensorBoard event file with scalars, written without protobuf.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "report/durable_file.hpp"

namespace esp {

// The bytes of one record: length, checksum, payload, checksum.
std::string event_record(std::string_view payload);
// Payloads: protobuf messages of type tensorflow.Event.
std::string version_event(double wall_time);
std::string scalar_event(double wall_time, int64_t step, std::string_view tag, float value);

// One per run folder, on rank 0. Scalars are kept back for at most ten seconds, so that a viewer is never far behind.
// Throws Error(kResource) naming the file.
class EventFile {
 public:
  explicit EventFile(const std::filesystem::path& folder);
  ~EventFile();

  void scalar(int64_t step, std::string_view tag, double value);
  void flush();

 private:
  RecordFile file_;
  std::string pending_;
  std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

}  // namespace esp
