// Ranks as child processes of a test.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

#include "runtime/api.hpp"

namespace esp::runtime::test {

// A listening socket on a port that the system picks.
class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }
  int port() const { return port_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
  int port_ = 0;
};

// Forks `world` ranks, runs body in each, and expects every one to end without a failed expectation. The process must
// have no threads yet.
inline void run_ranks(int world, const std::function<void(const RankFacts&)>& body) {
  Listener listener;
  std::fflush(nullptr);
  std::vector<pid_t> children;
  for (int rank = 0; rank < world; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      RankFacts facts;
      facts.rank = facts.local_rank = rank;
      facts.world = facts.local_world = world;
      facts.master_port = listener.port();
      facts.listen_fd = rank == 0 ? listener.release() : -1;
      facts.store_prefix = "test";
      try {
        body(facts);
      } catch (const std::exception& failure) {
        ADD_FAILURE() << "rank " << rank << ": " << failure.what();
      }
      std::fflush(nullptr);
      _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    children.push_back(child);
  }
  close(listener.release());
  for (size_t rank = 0; rank < children.size(); ++rank) {
    int status = 0;
    ASSERT_EQ(waitpid(children[rank], &status, 0), children[rank]);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "rank " << rank << " ended with status " << status;
  }
}

}  // namespace esp::runtime::test
