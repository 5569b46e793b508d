#include "zip_archive.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "data_error.hpp"
#include "zip_directory.hpp"

namespace esp::vit {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint64_t kLocalBytes = 30;
constexpr uint16_t kStored = 0, kDeflated = 8;

void read_exactly(int fd, uint64_t offset, void* to, uint64_t bytes) {
  auto* out = static_cast<uint8_t*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd, out, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw DataError(ESP_E_IO, std::string("cannot read: ") + std::strerror(errno));
    if (got == 0) throw DataError("ZIP file ends early; is it complete?");
    out += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<uint64_t>(got);
  }
}

// Raw deflate of exactly out.size() bytes. One byte of room more is offered, so that a longer stream shows.
void inflate_exactly(const std::vector<uint8_t>& stored, std::vector<uint8_t>& out) {
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  const size_t expected = out.size();
  out.resize(expected + 1);
  stream.next_in = const_cast<uint8_t*>(stored.data());
  stream.avail_in = static_cast<uInt>(stored.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = inflate(&stream, Z_FINISH);
  out.resize(expected);
  if (result == Z_MEM_ERROR) throw std::bad_alloc();
  if (stream.total_out > expected) throw DataError("ZIP member decodes to more bytes than it declares; refused");
  if (result != Z_STREAM_END || stream.total_out != expected)
    throw DataError("ZIP member is damaged: cannot be inflated");
}

}  // namespace

ZipArchive::ZipArchive(const std::string& path, const ZipLimits& limits) : limits_(limits) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) throw DataError(ESP_E_IO, std::string("cannot open: ") + std::strerror(errno));
  try {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) throw DataError(ESP_E_IO, std::string("cannot read: ") + std::strerror(errno));
    if (!S_ISREG(status.st_mode)) throw DataError(ESP_E_IO, "not a regular file");
    size_ = static_cast<uint64_t>(status.st_size);
    const auto read_at = [this](uint64_t offset, void* to, uint64_t bytes) { read_exactly(fd_, offset, to, bytes); };
    members_ = read_zip_directory(read_at, size_, limits_);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

ZipArchive::~ZipArchive() { ::close(fd_); }

void ZipArchive::check_limits(const ZipMember& member) const {
  const std::string name = "ZIP member " + printable(member.name);
  if (member.method != kStored && member.method != kDeflated) {
    throw DataError(name + " uses compression method " + std::to_string(member.method) +
                    "; stored and deflate are read");
  }
  const uint64_t larger = std::max(member.bytes, member.stored_bytes);
  if (larger > limits_.member_bytes) {
    throw DataError(name + " has " + std::to_string(larger) + " bytes; at most " +
                    std::to_string(limits_.member_bytes) + " are read");
  }
  if (member.bytes > limits_.ratio_free_bytes && member.bytes / limits_.ratio >= member.stored_bytes) {
    throw DataError(name + " decodes to more than " + std::to_string(limits_.ratio) + " times its size; refused");
  }
}

void ZipArchive::read(const ZipMember& member, std::vector<uint8_t>& out) const {
  check_limits(member);
  std::vector<uint8_t> local(kLocalBytes + member.name.size());
  read_exactly(fd_, member.header, local.data(), local.size());
  const bool same_name = little16(&local[26]) == member.name.size() &&
                         std::memcmp(&local[kLocalBytes], member.name.data(), member.name.size()) == 0;
  if (little32(local.data()) != kLocalSignature || !same_name) {
    throw DataError("ZIP member is damaged: its header and the directory differ");
  }
  const uint64_t data = member.header + local.size() + little16(&local[28]);
  out.resize(member.bytes);
  if (member.method == kStored) {
    read_exactly(fd_, data, out.data(), out.size());
  } else {
    std::vector<uint8_t> stored(member.stored_bytes);
    read_exactly(fd_, data, stored.data(), stored.size());
    inflate_exactly(stored, out);
  }
  if (crc32(crc32(0, nullptr, 0), out.data(), static_cast<uInt>(out.size())) != member.checksum) {
    throw DataError("ZIP member is damaged: its checksum is wrong");
  }
}

}  // namespace esp::vit
