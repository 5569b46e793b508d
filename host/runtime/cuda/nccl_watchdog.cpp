#include "runtime/cuda/nccl_watchdog.hpp"

#include <algorithm>
#include <utility>

#include "error.hpp"
#include "runtime/comm/lost_peer.hpp"
#include "runtime/cuda/cuda_check.hpp"

namespace esp::runtime {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(100);
constexpr auto kAbortWait = std::chrono::seconds(10);
constexpr auto kCallGrace = std::chrono::seconds(1);  // for a call in progress to return before its group goes

}  // namespace

NcclWatchdog::NcclWatchdog(CudaDevice& device, double timeout_s)
    : device_(device), nccl_(NcclLibrary::get()), timeout_(timeout_s) {
  failure_act_ = device_.on_failure([this] { abort_all(); });
  thread_ = std::thread([this] { run(); });
}

NcclWatchdog::~NcclWatchdog() {
  device_.forget_failure(failure_act_);
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  for (const Pending& pending : pending_) cudaEventDestroy(pending.done);
  for (cudaEvent_t event : free_events_) cudaEventDestroy(event);
  std::unique_lock lock(aborts_->mutex);
  aborts_->done.wait_for(lock, kAbortWait, [this] { return aborts_->running == 0; });
}

std::shared_ptr<NcclGroup> NcclWatchdog::add(ncclComm_t comm, GroupFacts facts) {
  auto group = std::make_shared<NcclGroup>();
  group->comm = comm;
  group->facts = std::move(facts);
  std::lock_guard lock(mutex_);
  groups_.push_back(group);
  return group;
}

// ncclCommDestroy waits for the peers, which may have ended with an error of their own. All work is done by now.
void NcclWatchdog::remove(const std::shared_ptr<NcclGroup>& group) {
  {
    std::lock_guard lock(mutex_);
    std::erase(groups_, group);
    if (std::exchange(group->aborted, true)) return;
  }
  abort(group);
}

void NcclWatchdog::enter(NcclGroup& group, std::string what) {
  device_.check();
  std::lock_guard lock(mutex_);
  if (group.aborted) {
    throw Error(ExitCode::kPeerLost, what + ": the group was given up after an earlier failure");
  }
  group.in_call = true;
  group.call_since = Clock::now();
  group.call = std::move(what);
}

void NcclWatchdog::leave(NcclGroup& group) {
  {
    std::lock_guard lock(mutex_);
    group.in_call = false;
  }
  changed_.notify_all();
}

cudaEvent_t NcclWatchdog::take_event() {
  cudaEvent_t event = nullptr;
  std::lock_guard lock(mutex_);
  if (!free_events_.empty()) {
    event = free_events_.back();
    free_events_.pop_back();
    return event;
  }
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  return event;
}

void NcclWatchdog::watch(std::shared_ptr<NcclGroup> group, const CollectiveCall& call, cudaStream_t stream) {
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream, &capturing), "asking whether a stream is captured");
  if (capturing != cudaStreamCaptureStatusNone) return;
  const cudaEvent_t event = take_event();
  check_cuda(cudaEventRecord(event, stream), "recording the end of a collective");
  std::lock_guard lock(mutex_);
  pending_.push_back({std::move(group), call, event, Clock::now()});
}

void NcclWatchdog::run() {
  cudaSetDevice(device_.index());
  // Whatever the main thread captures meanwhile.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait_for(lock, kLookEvery, [this] { return stopping_; });
    if (stopping_ || aborting_) continue;
    look();
    const std::exception_ptr found = std::exchange(found_, nullptr);
    lock.unlock();
    if (found != nullptr) device_.fail(found);
    try {
      device_.check();  // a host function's failure is nobody's call of fail
    } catch (...) {
      abort_all();
    }
    lock.lock();
  }
}

void NcclWatchdog::look() {
  const Clock::time_point now = Clock::now();
  for (const auto& group : groups_) {
    if (group->aborted) continue;
    ncclResult_t state = ncclSuccess;
    if (nccl_.comm_get_async_error(group->comm, &state) == ncclSuccess && state != ncclSuccess &&
        state != ncclInProgress) {
      const std::string what = pending_.empty() ? "a collective in group '" + group->facts.name + "'"
                                                : describe(pending_.front().call, pending_.front().group->facts);
      return lost(*group, what, std::string("NCCL: ") + nccl_.get_error_string(state));
    }
    if (group->in_call && now - group->call_since > timeout_) return lost(*group, group->call, "timed out");
  }
  look_at_pending(now);
}

// The limit counts from the end of the collective before: a long queue is not a lost peer.
void NcclWatchdog::look_at_pending(Clock::time_point now) {
  while (!pending_.empty()) {
    Pending& first = pending_.front();
    const cudaError_t state = cudaEventQuery(first.done);
    if (state == cudaErrorNotReady) {
      if (now - first.since > timeout_) lost(*first.group, describe(first.call, first.group->facts), "timed out");
      return;
    }
    free_events_.push_back(first.done);
    pending_.pop_front();
    if (!pending_.empty()) pending_.front().since = std::max(pending_.front().since, now);
  }
}

void NcclWatchdog::lost(const NcclGroup& group, const std::string& what, const std::string& text) {
  found_ = std::make_exception_ptr(lost_peer(group.facts.rank, group.facts.members, what, text));
}

void NcclWatchdog::abort_all() {
  std::vector<std::shared_ptr<NcclGroup>> groups;
  {
    std::unique_lock lock(mutex_);
    aborting_ = true;
    for (const auto& group : groups_) {
      if (!std::exchange(group->aborted, true)) groups.push_back(group);
    }
    // Aborting frees the group: a call in progress gets a chance to return, unless it is what hangs.
    changed_.wait_for(lock, kCallGrace, [&] {
      return std::none_of(groups.begin(), groups.end(), [](const auto& group) { return group->in_call; });
    });
  }
  for (auto& group : groups) abort(std::move(group));
}

// On threads of their own: an abort frees memory, which waits for kernels of other groups, whose aborts must have
// begun.
void NcclWatchdog::abort(std::shared_ptr<NcclGroup> group) {
  {
    std::lock_guard lock(aborts_->mutex);
    ++aborts_->running;
  }
  std::thread([aborts = aborts_, group = std::move(group), nccl = &nccl_, device = device_.index()] {
    cudaSetDevice(device);
    nccl->comm_abort(group->comm);
    std::lock_guard lock(aborts->mutex);
    --aborts->running;
    aborts->done.notify_all();
  }).detach();
}

}  // namespace esp::runtime
