#include "support/host_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <stdexcept>

namespace esp::test {
namespace {

constexpr const char* kMarkVariable = "ESPALIER_TEST_MARK";

// Variables by which a launcher tells a process that it is a rank; the tests may themselves run under one.
constexpr const char* kLauncherPrefixes[] = {"RANK=",  "WORLD_SIZE=", "LOCAL_",    "MASTER_", "TORCHELASTIC_",
                                             "SLURM_", "OMPI_",       "ESPALIER_", "PMI_",    kMarkVariable};

bool is_launchers(const char* entry) {
  for (const char* prefix : kLauncherPrefixes) {
    if (std::strncmp(entry, prefix, std::strlen(prefix)) != 0) continue;
    // Where LibTorch lies is no launcher's business.
    return std::strncmp(entry, "ESPALIER_LIBTORCH=", std::strlen("ESPALIER_LIBTORCH=")) != 0;
  }
  return false;
}

std::vector<std::string> make_environment(const std::map<std::string, std::string>& added, const std::string& mark) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!is_launchers(*entry)) entries.emplace_back(*entry);
  }
  for (const auto& [name, value] : added) entries.push_back(name + "=" + value);
  entries.push_back(std::string(kMarkVariable) + "=" + mark);
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

std::string new_mark() {
  static std::atomic<int> counter{0};
  return std::to_string(getpid()) + "." + std::to_string(++counter);
}

bool is_zombie(const std::string& proc_folder) {
  const std::string stat = read_file(proc_folder + "/stat");
  const size_t end_of_name = stat.rfind(')');
  return end_of_name == std::string::npos || stat.size() < end_of_name + 3 || stat[end_of_name + 2] == 'Z';
}

}  // namespace

double now_seconds() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void pause_briefly() {
  const timespec time{0, 10'000'000};
  nanosleep(&time, nullptr);
}

std::string Outcome::describe() const {
  std::ostringstream text;
  text << "exit code " << exit_code << ", signal " << signal << (timed_out ? ", over its time limit" : "") << ", "
       << seconds << " s\n--- stdout\n"
       << out << "--- stderr\n"
       << err << "---";
  return text.str();
}

std::vector<std::string> Outcome::error_lines() const {
  std::vector<std::string> lines;
  std::istringstream text(err);
  for (std::string line; std::getline(text, line);) {
    const bool progress = line.starts_with("step ") || line.starts_with("evaluating ");
    if (!line.empty() && !progress) lines.push_back(line);
  }
  return lines;
}

HostProcess::HostProcess(const std::vector<std::string>& arguments, const HostOptions& options) : mark_(new_mark()) {
  std::vector<std::string> words = options.prefix;
  const char* moved = std::getenv("ESPALIER_STAGE");
  words.push_back(std::string(moved == nullptr ? ESPALIER_STAGE : moved) + "/bin/host");
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = make_environment(options.environment, mark_);
  const std::string folder = options.folder.empty() ? scratch_.path().string() : options.folder;

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, (scratch_ / "stdout").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, (scratch_ / "stderr").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);  // own group: Ctrl-C spares us
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  started_ = now_seconds();
  const int failed = posix_spawnp(&pid_, words[0].c_str(), &actions, &attributes, pointers(words).data(),
                                  pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::runtime_error("cannot start " + words[0] + ": " + std::strerror(failed));
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0) throw std::runtime_error(std::string("pidfd_open: ") + std::strerror(errno));
}

HostProcess::~HostProcess() {
  if (!reaped_) {
    kill();
    waitpid(pid_, nullptr, 0);
  }
  for (const pid_t pid : descendants()) ::kill(pid, SIGKILL);
  close(pidfd_);
}

Outcome HostProcess::wait(double limit) {
  Outcome outcome;
  pollfd watched{pidfd_, POLLIN, 0};
  const double left = started_ + limit - now_seconds();
  while (poll(&watched, 1, left > 0 ? static_cast<int>(left * 1000) : 0) < 0 && errno == EINTR) {
  }
  if ((watched.revents & POLLIN) == 0) {
    outcome.timed_out = true;
    kill();
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  reaped_ = true;
  outcome.seconds = now_seconds() - started_;
  if (outcome.timed_out) {
    for (const pid_t pid : descendants()) ::kill(pid, SIGKILL);
  } else if (WIFEXITED(status)) {
    outcome.exit_code = WEXITSTATUS(status);
  } else if (WIFSIGNALED(status)) {
    outcome.signal = WTERMSIG(status);
  }
  outcome.out = out();
  outcome.err = err();
  return outcome;
}

void HostProcess::kill() const { signal(SIGKILL); }

void HostProcess::signal(int number) const { ::kill(pid_, number); }

std::vector<pid_t> HostProcess::descendants() const {
  const std::string wanted = std::string(kMarkVariable) + "=" + mark_ + '\0';
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = static_cast<pid_t>(std::stol(name));
    if (pid == pid_ || read_file(entry.path() / "environ").find(wanted) == std::string::npos) continue;
    if (!is_zombie(entry.path())) found.push_back(pid);
  }
  return found;
}

std::string HostProcess::out() const { return read_file(scratch_.path() / "stdout"); }
std::string HostProcess::err() const { return read_file(scratch_.path() / "stderr"); }

Outcome run_host(const std::vector<std::string>& arguments, double limit, const HostOptions& options) {
  HostProcess process(arguments, options);
  return process.wait(limit);
}

}  // namespace esp::test
