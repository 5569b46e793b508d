// How the ranks of a run meet.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/api.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/control_group.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

// Both live no longer than the device. End with control->barrier(), since rank 0 may serve the store.
struct World {
  std::unique_ptr<Communicator> data;     // all ranks: the data-parallel group
  std::unique_ptr<ControlGroup> control;  // all ranks
  std::string how;                        // collectives work, for the log: "NCCL between 2 GPUs"
};

// Needed where the device is a GPU.
struct GpuFacts {
  std::string identity;  // of the physical GPU: the same from every process, of no other GPU
  std::function<std::unique_ptr<Communicator>(ControlGroup&)> make_nccl;  // called by all ranks together, or by none
};

// Blocks until all ranks are there; one rank needs no network. Throws Error(kPeerLost) when a rank does not come within
// the timeout, Error(kResource) when the port is taken. With more than one rank SIGPIPE is ignored from here on.
// GPUs speak over NCCL when every rank has one of its own, else through the host.
World connect(const RankFacts& facts, double timeout_s, Device& device, const GpuFacts& gpu = {});

}  // namespace esp::runtime
