#include "supervisor/start_ranks.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "error.hpp"
#include "supervisor/rank_link.hpp"

extern char** environ;

namespace esp {
namespace {

// A socket that listens on a free port of the loopback: rank 0 inherits it, so nobody can take the port in between.
struct StoreSocket {
  UniqueFd fd;
  int port = 0;
};

StoreSocket listen_on_loopback() {
  StoreSocket store{UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!store.fd || bind(store.fd.get(), generic, size) != 0 || listen(store.fd.get(), SOMAXCONN) != 0 ||
      getsockname(store.fd.get(), generic, &size) != 0) {
    throw Error(ExitCode::kResource, std::string("no port of 127.0.0.1 can be had for the ranks to meet: ") +
                                         std::strerror(errno) + "; check the loopback interface");
  }
  store.port = ntohs(address.sin_port);
  return store;
}

// The inherited environment, with a rank's variables in place of older ones of the same name.
std::vector<std::string> environment_with(const std::vector<std::string>& own) {
  std::vector<std::string> all = own;
  for (char** at = environ; *at; ++at) {
    const std::string inherited = *at;
    const std::string name = inherited.substr(0, inherited.find('=') + 1);
    const auto replaces = [&](const std::string& variable) { return variable.starts_with(name); };
    if (std::none_of(own.begin(), own.end(), replaces)) all.push_back(inherited);
  }
  return all;
}

std::string executable_name() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "host";
}

std::string variable(const std::string& name, int value) { return name + "=" + std::to_string(value); }

}  // namespace

std::vector<std::unique_ptr<RankProcess>> start_ranks(int count, const std::vector<std::string>& arguments,
                                                      int report_fd, int phase_fd) {
  const StoreSocket store = listen_on_loopback();
  const std::string run_id = std::to_string(getpid()) + "-" + std::to_string(std::time(nullptr));
  RankStart start;
  start.arguments = arguments;
  start.arguments.insert(start.arguments.begin(), executable_name());
  start.report_fd = report_fd;
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int rank = 0; rank < count; ++rank) {
    const int store_fd = rank == 0 ? store.fd.get() : -1;
    start.rank = rank;
    start.inherited = {report_fd};
    for (const int fd : {phase_fd, store_fd}) {
      if (fd >= 0) start.inherited.push_back(fd);
    }
    start.environment =
        environment_with({variable("RANK", rank), variable("WORLD_SIZE", count), variable("LOCAL_RANK", rank),
                          variable("LOCAL_WORLD_SIZE", count), "MASTER_ADDR=127.0.0.1",
                          variable("MASTER_PORT", store.port), variable(kSupervisorVariable, getpid()),
                          std::string(kRunIdVariable) + "=" + run_id, variable(kReportFdVariable, report_fd),
                          variable(kPhaseFdVariable, phase_fd), variable(kListenFdVariable, store_fd)});
    ranks.push_back(std::make_unique<RankProcess>(start));
  }
  return ranks;
}

}  // namespace esp
