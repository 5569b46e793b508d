#include "files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <espalier/failure.hpp>
#include <filesystem>

namespace esp::vit {
namespace {

constexpr char kHex[] = "0123456789abcdef";
constexpr size_t kShownBytes = 160;
constexpr size_t kPieceBytes = size_t{64} << 20;

std::string folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

}  // namespace

std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text) {
    // Cut between two characters of UTF-8, not inside one.
    if (out.size() >= kShownBytes && (static_cast<unsigned char>(c) & 0xc0u) != 0x80u) return out + "...";
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += c;
    }
  }
  return out;
}

FileHandle& FileHandle::operator=(FileHandle&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileHandle::~FileHandle() {
  if (fd_ >= 0) ::close(fd_);
}

int FileHandle::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

InputFile::InputFile(const std::string& path)
    : path_(path), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat info {};
  if (file_.get() < 0 || ::fstat(file_.get(), &info) != 0) {
    fail(ESP_E_IO, shown(path), ": cannot be opened: ", std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) fail(ESP_E_IO, shown(path), ": is not a regular file");
  bytes_ = static_cast<uint64_t>(info.st_size);
}

void InputFile::read(uint64_t offset, void* out, size_t bytes) const {
  auto* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t got = ::pread(file_.get(), to, std::min(bytes, kPieceBytes), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ESP_E_IO, shown(path_), ": cannot be read at byte ", offset, ": ", std::strerror(errno));
    if (got == 0) fail(ESP_E_DATA, shown(path_), ": ends at byte ", offset, ", ", bytes, " bytes are missing");
    to += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
}

std::string read_small_file(const std::string& path, uint64_t limit) {
  const InputFile file(path);
  if (file.bytes() > limit) {
    fail(ESP_E_DATA, shown(path), ": has ", file.bytes(), " bytes, more than the ", limit,
         " that such a file may have");
  }
  std::string text(file.bytes(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

OutputFile::OutputFile(const std::string& path) : path_(path), temporary_(path + ".incomplete") {
  file_ = FileHandle(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file_.get() < 0) give_up("created", errno);
}

OutputFile::~OutputFile() {
  if (file_.get() >= 0) ::unlink(temporary_.c_str());
}

void OutputFile::give_up(const char* doing, int error) {
  fail(ESP_E_IO, shown(path_), ": cannot be ", doing, " after ", written_, " bytes: ", std::strerror(error));
}

void OutputFile::write(const void* data, size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::write(file_.get(), from, std::min(bytes, kPieceBytes));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) give_up("written", errno);
    from += put;
    written_ += static_cast<uint64_t>(put);
    bytes -= static_cast<size_t>(put);
  }
}

void OutputFile::commit() {
  if (::fsync(file_.get()) != 0) give_up("written to the disk", errno);
  const int fd = file_.release();
  const bool closed = ::close(fd) == 0;
  if (!closed || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    give_up("completed", error);
  }
  // The new name is on the disk only when its folder is; some file systems refuse to sync folders, which is no loss.
  const FileHandle folder(::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
}

}  // namespace esp::vit
