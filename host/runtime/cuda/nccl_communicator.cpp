#include "runtime/cuda/nccl_communicator.hpp"

#include <algorithm>
#include <cstring>
#include <future>
#include <numeric>
#include <thread>
#include <utility>

#include "error.hpp"
#include "runtime/comm/call_order.hpp"
#include "runtime/comm/counted_communicator.hpp"
#include "runtime/comm/growing_buffer.hpp"
#include "runtime/comm/lost_peer.hpp"
#include "runtime/cuda/nccl_library.hpp"
#include "runtime/cuda/nccl_watchdog.hpp"
#include "runtime/device/call_error.hpp"
#include "runtime/device/dtype.hpp"

namespace esp::runtime {
namespace {

ncclDataType_t type_of(esp_dtype dtype) {
  switch (dtype) {
    case ESP_F32:
      return ncclFloat32;
    case ESP_F64:
      return ncclFloat64;
    case ESP_F16:
      return ncclFloat16;
    case ESP_BF16:
      return ncclBfloat16;
    case ESP_U8:
      return ncclUint8;
    default:
      throw CallError(ESP_E_UNSUPPORTED, "no collective takes " + name_of(dtype));
  }
}

ncclRedOp_t op_of(uint32_t op) {
  if (op == ESP_AVG) return ncclAvg;
  if (op == ESP_MAX) return ncclMax;
  return op == ESP_MIN ? ncclMin : ncclSum;
}

ncclConfig_t config_of(const GroupFacts& facts, const NcclSettings& settings) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 1;
  config.commName = facts.name.c_str();
  if (settings.most_blocks > 0) config.maxCTAs = settings.most_blocks;
  return config;
}

class NcclCommunicator final : public CountedCommunicator {
 public:
  NcclCommunicator(CudaDevice& device, const NcclSettings& settings, std::shared_ptr<NcclWatchdog> watchdog,
                   ncclComm_t comm, GroupFacts facts)
      : device_(device),
        settings_(settings),
        nccl_(NcclLibrary::get()),
        watchdog_(std::move(watchdog)),
        group_(watchdog_->add(comm, std::move(facts))),
        order_(device),
        scratch_(device.memory(), ESP_DEVICE) {}
  ~NcclCommunicator() override { watchdog_->remove(group_); }

  std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) override;
  void forget_order() override { order_.forget(); }

 private:
  const GroupFacts& group() const override { return group_->facts; }
  void issue(const CollectiveCall& call, const void* in, void* out, Stream& stream) override;
  void issue_wide(const CollectiveCall& call, const void* in, void* out, Stream& stream);
  void issue_native(const CollectiveCall& call, const void* in, void* out, cudaStream_t stream);
  template <class Body>
  void call_library(const std::string& what, Body&& body);

  CudaDevice& device_;
  const NcclSettings settings_;
  const NcclLibrary& nccl_;
  std::shared_ptr<NcclWatchdog> watchdog_;
  std::shared_ptr<NcclGroup> group_;
  CallOrder order_;
  GrowingBuffer scratch_;
  uint64_t n_subsets_ = 0;
};

template <class Body>
void NcclCommunicator::call_library(const std::string& what, Body&& body) {
  watchdog_->enter(*group_, what);
  const ncclResult_t result = body();
  watchdog_->leave(*group_);
  device_.check();  // the watchdog's message is the better one
  if (result == ncclSuccess) return;
  const Error failure =
      lost_peer(rank(), members(), what,
                std::string("NCCL: ") + nccl_.get_error_string(result) + " (" + nccl_.get_last_error(nullptr) + ")");
  device_.fail(std::make_exception_ptr(failure));
  throw failure;
}

void NcclCommunicator::issue(const CollectiveCall& call, const void* in, void* out, Stream& stream) {
  if (!on_gpu(stream)) throw CallError(ESP_E_UNSUPPORTED, "collectives between GPUs need a stream of the GPU");
  order_.begin(stream);
  const bool half = call.dtype == ESP_F16 || call.dtype == ESP_BF16;
  const bool adds = call.kind != Collective::kAllGather && (call.op == ESP_SUM || call.op == ESP_AVG);
  if (size() == 1) {
    device_.kernels().copy(stream, out, in, input_bytes(call, 1));
  } else if (half && adds && size() > 2) {
    issue_wide(call, in, out, stream);
  } else {
    issue_native(call, in, out, raw(stream));
  }
  order_.end(stream);
}

void NcclCommunicator::issue_wide(const CollectiveCall& call, const void* in, void* out, Stream& stream) {
  const uint64_t n_in = input_bytes(call, group().size()) / bytes_of(call.dtype);
  auto* wide = static_cast<float*>(scratch_.get(n_in * sizeof(float)));
  float* own = call.kind == Collective::kReduceScatter ? wide + call.n * static_cast<uint64_t>(rank()) : wide;
  CollectiveCall in_float = call;
  in_float.dtype = ESP_F32;
  device_.kernels().convert(stream, wide, ESP_F32, in, call.dtype, n_in);
  issue_native(in_float, wide, own, raw(stream));
  device_.kernels().convert(stream, out, call.dtype, own, ESP_F32, call.n);
}

void NcclCommunicator::issue_native(const CollectiveCall& call, const void* in, void* out, cudaStream_t stream) {
  const ncclDataType_t type = type_of(call.dtype);
  call_library(describe(call, group()), [&] {
    if (call.kind == Collective::kAllReduce) {
      return nccl_.all_reduce(in, out, call.n, type, op_of(call.op), group_->comm, stream);
    }
    if (call.kind == Collective::kReduceScatter) {
      return nccl_.reduce_scatter(in, out, call.n, type, op_of(call.op), group_->comm, stream);
    }
    return nccl_.all_gather(in, out, call.n, type, group_->comm, stream);
  });
  watchdog_->watch(group_, call, stream);
}

std::unique_ptr<Communicator> NcclCommunicator::subset(std::span<const int32_t> ranks) {
  GroupFacts facts = subset_facts(group(), ranks, n_subsets_++);
  ncclConfig_t config = config_of(facts, settings_);
  ncclComm_t comm = nullptr;
  call_library("forming group '" + facts.name + "'", [&] {
    return nccl_.comm_split(group_->comm, facts.rank < 0 ? NCCL_SPLIT_NOCOLOR : 0, rank(), &comm, &config);
  });
  if (facts.rank < 0) return nullptr;
  return std::make_unique<NcclCommunicator>(device_, settings_, watchdog_, comm, std::move(facts));
}

struct Made {
  ncclResult_t result;
  ncclComm_t comm;
  std::string text;
};

// Forming a group has no time limit of its own, so it is done on a thread that is left behind when it does not come
// back.
std::future<Made> start_forming(const GroupFacts& facts, const NcclSettings& settings, const ncclUniqueId& id,
                                int32_t device) {
  auto promise = std::make_shared<std::promise<Made>>();
  std::future<Made> made = promise->get_future();
  std::thread([promise, facts, settings, id, device] {
    const NcclLibrary& nccl = NcclLibrary::get();
    cudaSetDevice(device);
    ncclConfig_t config = config_of(facts, settings);
    Made mine{};
    mine.result = nccl.comm_init_rank_config(&mine.comm, static_cast<int>(facts.size()), id, facts.rank, &config);
    if (mine.result != ncclSuccess) {
      mine.text =
          std::string("NCCL: ") + nccl.get_error_string(mine.result) + " (" + nccl.get_last_error(nullptr) + ")";
    }
    promise->set_value(std::move(mine));
  }).detach();
  return made;
}

// Rank 0's, or empty where it could not make one: all ranks must hear of that.
std::string new_id(int32_t rank) {
  ncclUniqueId id{};
  if (rank != 0 || NcclLibrary::get().get_unique_id(&id) != ncclSuccess) return {};
  return std::string(reinterpret_cast<const char*>(&id), sizeof id);
}

}  // namespace

std::unique_ptr<Communicator> nccl_communicator(CudaDevice& device, ControlGroup& control,
                                                const NcclSettings& settings) {
  GroupFacts facts{"data", control.rank(), std::vector<int32_t>(static_cast<size_t>(control.size()))};
  std::iota(facts.members.begin(), facts.members.end(), 0);
  const std::string bytes = control.broadcast(new_id(control.rank()), 0);
  const std::string what = "forming group 'data'";
  ncclUniqueId id{};
  if (bytes.size() != sizeof id) throw lost_peer(facts.rank, facts.members, what, "NCCL: rank 0 has no unique id");
  std::memcpy(&id, bytes.data(), sizeof id);
  std::future<Made> forming = start_forming(facts, settings, id, device.index());
  if (forming.wait_for(std::chrono::duration<double>(settings.timeout_s)) == std::future_status::timeout) {
    throw lost_peer(facts.rank, facts.members, what, "timed out");
  }
  const Made made = forming.get();
  if (made.result != ncclSuccess) throw lost_peer(facts.rank, facts.members, what, made.text);
  auto watchdog = std::make_shared<NcclWatchdog>(device, settings.timeout_s);
  return std::make_unique<NcclCommunicator>(device, settings, std::move(watchdog), made.comm, std::move(facts));
}

}  // namespace esp::runtime
