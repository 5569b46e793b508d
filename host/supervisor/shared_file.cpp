#include "supervisor/shared_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.hpp"

namespace esp {

UniqueFd make_shared_file() {
  UniqueFd file(memfd_create("child", MFD_CLOEXEC));
  if (file.get() < 0) {
    throw Error(ExitCode::kResource, std::string("no memory to talk with a child process: ") + strerror(errno));
  }
  return file;
}

void write_all(int fd, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return;
    if (n > 0) done += static_cast<size_t>(n);
  }
}

std::string read_whole(int fd) {
  std::string text;
  char part[4096];
  for (ssize_t n; (n = pread(fd, part, sizeof part, static_cast<off_t>(text.size()))) > 0;) {
    text.append(part, static_cast<size_t>(n));
  }
  return text;
}

}  // namespace esp
