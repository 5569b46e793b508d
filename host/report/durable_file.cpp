#include "report/durable_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "error.hpp"

namespace esp {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  const char* advice = error == ENOSPC || error == EDQUOT ? "; free space, or choose another folder with --out" : "";
  throw Error(ExitCode::kResource, "cannot write " + path.string() + ": " + std::strerror(error) + advice);
}

void write_all(int fd, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

RecordFile::RecordFile(std::filesystem::path path)
    : path_(std::move(path)), fd_(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644)) {
  if (!fd_) fail(path_, errno);
}

void RecordFile::append(std::string_view record) { write_all(fd_.get(), record, path_); }

void write_whole_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = path.string() + ".part";
  try {
    const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd) fail(path, errno);
    write_all(fd.get(), content, path);
    if (fsync(fd.get()) != 0) fail(path, errno);
    if (rename(temporary.c_str(), path.c_str()) != 0) fail(path, errno);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  // The name is durable once its folder is; a system that cannot do that still has the content.
  const UniqueFd folder(
      open(path.parent_path().empty() ? "." : path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) fsync(folder.get());
}

}  // namespace esp
