#include "report/event_file.hpp"

#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstring>
#include <utility>

#include "error.hpp"
#include "report/crc32c.hpp"

namespace esp {
namespace {

template <class T>
void put_little_endian(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Protobuf wire types.
constexpr uint64_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

void put_tag(std::string& out, uint64_t field, uint64_t type) { put_varint(out, field << 3 | type); }

void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_tag(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event_at(double wall_time) {
  std::string event;
  put_tag(event, 1, kFixed64);
  put_little_endian(event, wall_time);
  return event;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::filesystem::path event_path(const std::filesystem::path& folder) {
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%010lld", static_cast<long long>(wall_time()));
  return folder / ("events.out.tfevents." + std::string(seconds) + "." + host + "." + std::to_string(getpid()) + ".0");
}

}  // namespace

std::string event_record(std::string_view payload) {
  std::string record;
  put_little_endian(record, static_cast<uint64_t>(payload.size()));
  put_little_endian(record, masked_crc32c(record));
  record += payload;
  put_little_endian(record, masked_crc32c(payload));
  return record;
}

std::string version_event(double wall_time) {
  std::string event = event_at(wall_time);
  put_bytes(event, 3, "brain.Event:2");
  return event;
}

std::string scalar_event(double wall_time, int64_t step, std::string_view tag, float value) {
  std::string scalar;
  put_bytes(scalar, 1, tag);
  put_tag(scalar, 2, kFixed32);
  put_little_endian(scalar, value);
  std::string summary;
  put_bytes(summary, 1, scalar);
  std::string event = event_at(wall_time);
  put_tag(event, 2, kVarint);
  put_varint(event, static_cast<uint64_t>(step));
  put_bytes(event, 5, summary);
  return event;
}

EventFile::EventFile(const std::filesystem::path& folder) : file_(event_path(folder)) {
  file_.append(event_record(version_event(wall_time())));
}

EventFile::~EventFile() {
  try {
    flush();
  } catch (const Error&) {
    // The run is ending for another reason already: that one is told.
  }
}

void EventFile::scalar(int64_t step, std::string_view tag, double value) {
  pending_ += event_record(scalar_event(wall_time(), step, tag, static_cast<float>(value)));
  if (std::chrono::steady_clock::now() - flushed_ > std::chrono::seconds(10)) flush();
}

void EventFile::flush() {
  const std::string records = std::exchange(pending_, {});
  if (!records.empty()) file_.append(records);
  flushed_ = std::chrono::steady_clock::now();
}

}  // namespace esp
