// Collectives between GPUs over NCCL.
#pragma once

#include <memory>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/control_group.hpp"
#include "runtime/cuda/cuda_device.hpp"

namespace esp::runtime {

struct NcclSettings {
  double timeout_s;     // of a collective, and of forming a group
  int32_t most_blocks;  // of a collective, each on a multiprocessor; 0: NCCL's choice
};

// Over all ranks of `control`, each on a GPU of its own; blocks until all are there. Throws Error(kPeerLost) when they
// are not within the time limit, which later watches over the collectives. The result may be captured.
// Reductions are NCCL's own wherever these do what Communicator promises. NCCL's mean multiplies inputs by 1 / size
// and adds; for F32 and F64 that is arithmetic in the type itself. Half types: a sum or mean of two is rounded once
// (of a mean, denormal halves excepted); of more ranks NCCL would round at every hop, so these go as F32 through
// scratch memory, at twice the traffic. Streams of the CPU are refused (ESP_E_UNSUPPORTED).
std::unique_ptr<Communicator> nccl_communicator(CudaDevice& device, ControlGroup& control,
                                                const NcclSettings& settings);

}  // namespace esp::runtime
