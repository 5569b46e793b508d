#include "modules/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "modules/load_error.hpp"

namespace esp {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& why) {
  throw LoadError(10, path.string(), why);
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // Without O_NONBLOCK opening a pipe that somebody named as a plugin would wait for its writer.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat facts {};
  if (file.fd < 0 || fstat(file.fd, &facts) != 0) refuse(path, "cannot be read: " + std::string(strerror(errno)));
  if (S_ISDIR(facts.st_mode)) refuse(path, "is a folder, not a shared library; name a file in it");
  if (!S_ISREG(facts.st_mode)) refuse(path, "is not a regular file");
  size_ = static_cast<size_t>(facts.st_size);
  if (size_ == 0) return;
  void* memory = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (memory == MAP_FAILED) refuse(path, "cannot be read: " + std::string(strerror(errno)));
  memory_ = memory;
}

MappedFile::~MappedFile() {
  if (memory_ != nullptr) munmap(memory_, size_);
}

}  // namespace esp
