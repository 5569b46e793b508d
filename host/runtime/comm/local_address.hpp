// Which of this machine's addresses others can reach.
#pragma once

#include <string>

namespace esp::runtime {

// The address from which packets to a host leave; when that is a loopback one (this machine is the host), the first
// address of an interface that is not loopback. Empty when there is none. Sends nothing.
std::string local_address_towards(const std::string& host, int port);

}  // namespace esp::runtime
