// How the ranks of a run meet.
#pragma once

#include <memory>

#include "runtime/api.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/control_group.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

// Both live no longer than the device. End with control->barrier(), since rank 0 may serve the store.
struct World {
  std::unique_ptr<Communicator> data;     // all ranks: the data-parallel group
  std::unique_ptr<ControlGroup> control;  // all ranks
};

// Blocks until all ranks are there; one rank needs no network. Throws Error(kPeerLost) when a rank does not come within
// the timeout, Error(kResource) when the port is taken. With more than one rank SIGPIPE is ignored from here on.
World connect(const RankFacts& facts, double timeout_s, Device& device);

}  // namespace esp::runtime
