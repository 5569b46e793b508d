// The bytes of a file, mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace esp {

class MappedFile {
 public:
  // Throws LoadError L10 when it is no regular file or cannot be read.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(memory_), size_}; }

 private:
  void* memory_ = nullptr;  // nullptr for an empty file
  size_t size_ = 0;
};

}  // namespace esp
