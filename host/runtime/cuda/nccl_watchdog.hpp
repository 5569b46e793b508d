// Ends NCCL's waiting when a peer is lost: NCCL itself would wait for ever.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/comm/host_collectives.hpp"
#include "runtime/cuda/cuda_device.hpp"
#include "runtime/cuda/nccl_library.hpp"

namespace esp::runtime {

// A communicator as the watchdog sees it.
struct NcclGroup {
  ncclComm_t comm = nullptr;
  GroupFacts facts;
  bool aborted = false;
  // The library call that the main thread is in.
  bool in_call = false;
  std::chrono::steady_clock::time_point call_since;
  std::string call;
};

// Of one communicator and its subsets. A thread looks after them: an error that NCCL noticed, a call that does not
// return, or a collective that makes no progress for the time limit becomes the device's failure, Error(kPeerLost) with
// collective and rank; and any failure of the device aborts all communicators, so that no stream waits for ever.
// Collectives within a graph are watched by what follows them on a stream outside of it.
class NcclWatchdog {
 public:
  NcclWatchdog(CudaDevice& device, double timeout_s);
  ~NcclWatchdog();  // after all groups were removed

  std::shared_ptr<NcclGroup> add(ncclComm_t comm, GroupFacts facts);
  void remove(const std::shared_ptr<NcclGroup>& group);  // ends it, without waiting for peers

  // Around a library call. enter throws when the group was aborted; what: for the message.
  void enter(NcclGroup& group, std::string what);
  void leave(NcclGroup& group);
  // The collective that was just enqueued; does nothing on a stream that is being captured.
  void watch(std::shared_ptr<NcclGroup> group, const CollectiveCall& call, cudaStream_t stream);

 private:
  using Clock = std::chrono::steady_clock;
  struct Pending {
    std::shared_ptr<NcclGroup> group;
    CollectiveCall call;
    cudaEvent_t done;
    Clock::time_point since;
  };
  void run();
  void look();  // once; with the lock
  void look_at_pending(Clock::time_point now);
  void lost(const NcclGroup& group, const std::string& what, const std::string& text);
  void abort_all();  // any thread, without the lock; does not wait
  void abort(std::shared_ptr<NcclGroup> group);
  cudaEvent_t take_event();

  CudaDevice& device_;
  const NcclLibrary& nccl_;
  const std::chrono::duration<double> timeout_;
  uint64_t failure_act_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool aborting_ = false;
  std::exception_ptr found_;
  std::vector<std::shared_ptr<NcclGroup>> groups_;
  std::deque<Pending> pending_;
  std::vector<cudaEvent_t> free_events_;
  struct Aborts {
    std::mutex mutex;
    std::condition_variable done;
    int running = 0;
  };
  std::shared_ptr<Aborts> aborts_ = std::make_shared<Aborts>();  // outlives this where a thread does not come back
  std::thread thread_;
};

}  // namespace esp::runtime
