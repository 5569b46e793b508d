// Small files in, and files out that are either complete or not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace esp::vit {

// A text as it may stand in a one-line message: control characters become \xNN, and long texts are cut.
std::string shown(std::string_view text);

// A file descriptor that is closed with its owner.
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int fd) : fd_(fd) {}
  FileHandle(FileHandle&& other) noexcept : fd_(other.release()) {}
  FileHandle& operator=(FileHandle&& other) noexcept;
  ~FileHandle();
  int get() const { return fd_; }
  int release();

 private:
  int fd_ = -1;
};

// An open file that is read in pieces; reading is thread-safe. Throws Failure (ESP_E_IO) naming the file.
class InputFile {
 public:
  explicit InputFile(const std::string& path);  // refuses what is no regular file
  const std::string& path() const { return path_; }
  uint64_t bytes() const { return bytes_; }
  void read(uint64_t offset, void* out, size_t bytes) const;  // all of it, or Failure

 private:
  std::string path_;
  FileHandle file_;
  uint64_t bytes_ = 0;
};

// The whole of a file of at most `limit` bytes.
std::string read_small_file(const std::string& path, uint64_t limit);

// Written under a temporary name beside `path`, which appears at commit() and not before; without commit nothing stays.
// Throws Failure (ESP_E_IO) with the system's reason, such as a full disk.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  void write(const void* data, size_t bytes);
  void commit();  // to the disk, then under its name

 private:
  [[noreturn]] void give_up(const char* doing, int error);

  std::string path_, temporary_;
  FileHandle file_;
  uint64_t written_ = 0;
};

}  // namespace esp::vit
