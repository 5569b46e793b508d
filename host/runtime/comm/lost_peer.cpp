#include "runtime/comm/lost_peer.hpp"

#include <algorithm>
#include <cstring>

namespace esp::runtime {
namespace {

bool has(const std::string& text, const char* word) { return text.find(word) != std::string::npos; }

std::string cause(const std::string& text) {
  if (has(text, "imed out") || has(text, "timeout") || has(text, "Timeout")) {
    return "timed out (run.timeout): a peer is stuck, too slow, or gone";
  }
  if (has(text, "closed by peer") || has(text, "reset by peer") || has(text, "roken pipe")) {
    return "a peer closed its connection; see what that rank reported";
  }
  std::string line = text.substr(0, text.find('\n'));
  if (line.starts_with("[")) line.erase(0, std::min(line.size(), line.find("] ") + 2));  // "[/path/pair.cc:534] "
  return line;
}

}  // namespace

Error lost_peer(int32_t rank, std::span<const int32_t> members, const std::string& what, const std::string& text) {
  const int32_t world_rank = members[static_cast<size_t>(rank)];
  return Error(ExitCode::kPeerLost, "rank " + std::to_string(world_rank) + ": " + what + " between " +
                                        std::to_string(members.size()) + " ranks failed: " + cause(text));
}

}  // namespace esp::runtime
