// Compiled with USE_C10D_GLOO and the headers of gloo_shim/.
#include "runtime/comm/gloo_group.hpp"

#include <ATen/ops/from_blob.h>
#include <c10/util/Logging.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "error.hpp"
#include "runtime/comm/local_address.hpp"

namespace esp::runtime {
namespace {

using GlooDevice = std::shared_ptr<gloo::transport::Device>;

at::Tensor view(const void* data, uint64_t n, at::ScalarType type) {
  return at::from_blob(const_cast<void*>(data), {static_cast<int64_t>(n)}, at::TensorOptions().dtype(type));
}

at::ScalarType type_of(esp_dtype dtype) { return dtype == ESP_F64 ? at::kDouble : at::kFloat; }

c10d::ReduceOp::RedOpType op_of(uint32_t op) {
  if (op == ESP_MAX) return c10d::ReduceOp::MAX;
  return op == ESP_MIN ? c10d::ReduceOp::MIN : c10d::ReduceOp::SUM;
}

class Group final : public GlooGroup {
 public:
  explicit Group(c10::intrusive_ptr<c10d::ProcessGroupGloo> group) : group_(std::move(group)) {}

  void all_reduce(void* data, uint64_t n, esp_dtype dtype, uint32_t op) override {
    std::vector<at::Tensor> tensors{view(data, n, type_of(dtype))};
    c10d::AllreduceOptions options;
    options.reduceOp = op_of(op);
    group_->allreduce(tensors, options)->wait();
  }

  void reduce_scatter(void* in, void* out, uint64_t n_out, esp_dtype dtype, uint32_t op) override {
    at::Tensor input = view(in, n_out * static_cast<uint64_t>(group_->getSize()), type_of(dtype));
    at::Tensor output = view(out, n_out, type_of(dtype));
    c10d::ReduceScatterOptions options;
    options.reduceOp = op_of(op);
    group_->_reduce_scatter_base(output, input, options)->wait();
  }

  void all_gather(const void* in, void* out, uint64_t bytes) override {
    at::Tensor input = view(in, bytes, at::kByte);
    at::Tensor output = view(out, bytes * static_cast<uint64_t>(group_->getSize()), at::kByte);
    group_->_allgather_base(output, input)->wait();
  }

 private:
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

class Store final : public GlooStore {
 public:
  Store(c10::intrusive_ptr<c10d::Store> store, GlooDevice device, std::chrono::milliseconds timeout)
      : store_(std::move(store)), device_(std::move(device)), timeout_(timeout) {}

  std::unique_ptr<GlooGroup> group(const std::string& name, int32_t rank, int32_t size) override {
    auto options = c10d::ProcessGroupGloo::Options::create(timeout_);
    options->devices.push_back(device_);
    options->threads = 1;  // groups run one collective at a time
    auto store = c10::make_intrusive<c10d::PrefixStore>(name, store_);
    return std::make_unique<Group>(c10::make_intrusive<c10d::ProcessGroupGloo>(std::move(store), rank, size, options));
  }

 private:
  c10::intrusive_ptr<c10d::Store> store_;
  GlooDevice device_;
  std::chrono::milliseconds timeout_;
};

GlooDevice network_device(const RankFacts& facts) {
  if (facts.local_world == facts.world) return c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME"); interface != nullptr && *interface != '\0') {
    return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  }
  const std::string address = local_address_towards(facts.master_addr, facts.master_port);
  return address.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                         : c10d::ProcessGroupGloo::createDeviceForHostname(address);
}

// c10d warns on stderr, with stack traces, about what ends as one Error anyway.
void quiet_c10d() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

// Gloo and the store write to sockets without MSG_NOSIGNAL: a peer that goes away must be an error, not this rank's
// death.
void ignore_broken_pipes() {
  struct sigaction now {};
  if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
}

std::string text_of(const std::exception& failure) {
  const auto* torch_failure = dynamic_cast<const c10::Error*>(&failure);
  return torch_failure != nullptr ? torch_failure->what_without_backtrace() : failure.what();
}

// The store's client has no deadline of its own once something has accepted its connection, be it a program that never
// answers. So it is made on a thread that is left behind when it does not come back.
c10::intrusive_ptr<c10d::Store> make_store(const std::string& host, const c10d::TCPStoreOptions& options) {
  using Made = c10::intrusive_ptr<c10d::Store>;
  auto promise = std::make_shared<std::promise<Made>>();
  std::future<Made> made = promise->get_future();
  std::thread([promise, host, options] {
    try {
      promise->set_value(c10::make_intrusive<c10d::TCPStore>(host, options));
    } catch (...) {
      promise->set_exception(std::current_exception());
    }
  }).detach();
  if (made.wait_for(options.timeout + std::chrono::seconds(1)) == std::future_status::timeout) {
    throw std::runtime_error("no answer");
  }
  return made.get();
}

c10d::TCPStoreOptions store_options(const RankFacts& facts, std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(facts.master_port);
  options.isServer = facts.rank == 0 && !facts.store_is_served;
  options.numWorkers = static_cast<std::size_t>(facts.world);
  options.waitWorkers = false;  // Gloo's own rendezvous waits, and an agent's store counts otherwise
  options.timeout = timeout;
  if (options.isServer && facts.listen_fd >= 0) options.masterListenFd = facts.listen_fd;
  return options;
}

c10::intrusive_ptr<c10d::Store> open_store(const RankFacts& facts, std::chrono::milliseconds timeout) {
  const std::string who = "rank " + std::to_string(facts.rank) + ": ";
  try {
    auto store = make_store(facts.master_addr, store_options(facts, timeout));
    return c10::make_intrusive<c10d::PrefixStore>("espalier/" + facts.store_prefix, std::move(store));
  } catch (const std::exception& failure) {
    const std::string text = text_of(failure);
    if (text.find("EADDRINUSE") != std::string::npos || text.find("failed to listen") != std::string::npos) {
      throw Error(ExitCode::kResource, who + "port " + std::to_string(facts.master_port) +
                                           " is taken by another program; choose another MASTER_PORT");
    }
    throw Error(ExitCode::kPeerLost, who + "cannot reach the rendezvous store at " + facts.master_addr + ":" +
                                         std::to_string(facts.master_port) + " within " +
                                         std::to_string(timeout.count() / 1000) + " s; is rank 0 running there?");
  }
}

}  // namespace

std::shared_ptr<GlooStore> GlooStore::open(const RankFacts& facts, double timeout_s) {
  quiet_c10d();
  ignore_broken_pipes();
  const std::chrono::milliseconds timeout(static_cast<int64_t>(timeout_s * 1000));
  auto store = open_store(facts, timeout);
  try {
    return std::make_shared<Store>(std::move(store), network_device(facts), timeout);
  } catch (const std::exception& failure) {
    throw Error(ExitCode::kResource, "rank " + std::to_string(facts.rank) + ": no network interface for collectives (" +
                                         text_of(failure) + "); name one in GLOO_SOCKET_IFNAME");
  }
}

}  // namespace esp::runtime
