#include "runtime/cuda/cuda_device.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "runtime/cuda/cuda_check.hpp"
#include "runtime/cuda/cuda_kernels.hpp"
#include "runtime/cuda/cuda_memory.hpp"
#include "runtime/cuda/torch_side.hpp"
#include "runtime/device/cpu/parallel.hpp"

namespace esp::runtime {
namespace {

constexpr int32_t kComputePriority = -2;              // strategies get room on both sides
constexpr auto kAnchorAge = std::chrono::seconds(2);  // a float holds microseconds of so many seconds

CudaEvent& cuda(Event& event) { return static_cast<CudaEvent&>(event); }
CpuStream& cpu(Stream& stream) { return static_cast<CpuStream&>(stream); }

class CudaGraph final : public Graph {
 public:
  CudaGraph(cudaGraph_t graph, std::vector<std::shared_ptr<void>> owned) : owned_(std::move(owned)), graph_(graph) {
    check_cuda(cudaGraphInstantiateWithFlags(&exec_, graph, cudaGraphInstantiateFlagUseNodePriority),
               "instantiating the graph of a step");
  }
  ~CudaGraph() override {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
    cudaGraphDestroy(graph_);
  }
  cudaGraphExec_t exec() const { return exec_; }

 private:
  std::vector<std::shared_ptr<void>> owned_;  // what its host functions need
  cudaGraph_t graph_;
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace

CudaDevice::CudaDevice(int32_t index, int32_t cpu_threads)
    : index_(index), cpu_threads_(std::max(cpu_threads, 1)), memory_(std::make_unique<CudaMemory>()) {
  check_cuda(cudaSetDevice(index), "using GPU " + std::to_string(index));
  check_cuda(cudaFree(nullptr), "starting GPU " + std::to_string(index));
  set_parallel_threads(cpu_threads_);
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check_cuda(cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &entry, 11070, cudaEnableDefault, &found),
             "looking up cuStreamWaitValue32");
  wait_value_ = reinterpret_cast<decltype(wait_value_)>(entry);
  kernels_ = std::make_unique<CudaKernels>(*this);
  compute_ = streams_.add("compute", [this](uint32_t index) {
    return std::make_unique<CudaStream>(index, kComputePriority, "compute",
                                        [this](uint32_t gone) { streams_.remove(gone); });
  });
  torch_side::use_stream(index_, compute_->raw());
}

CudaDevice::~CudaDevice() {
  drain();
  anchor_.reset();
  for (Tickets& tickets : tickets_) cudaFreeHost(tickets.counter);
}

std::string CudaDevice::name() const {
  cudaDeviceProp facts{};
  check_cuda(cudaGetDeviceProperties(&facts, index_), "asking for the GPU's name");
  return facts.name;
}

std::unique_ptr<Stream> CudaDevice::create_stream(uint32_t kind, int32_t priority, std::string name) {
  if (kind == ESP_STREAM_CPU) return create_cpu_stream(std::move(name));
  if (kind != ESP_STREAM_DEVICE) {
    throw Error(ExitCode::kPlugin, "stream kind " + std::to_string(kind) + " is neither ESP_STREAM_DEVICE nor _CPU");
  }
  return streams_.add(name, [&](uint32_t index) {
    return std::make_unique<CudaStream>(index, priority, name, [this](uint32_t gone) { streams_.remove(gone); });
  });
}

std::unique_ptr<Stream> CudaDevice::create_cpu_stream(std::string name) {
  auto stream = streams_.add(name, [&](uint32_t index) {
    return std::make_unique<CpuStream>(StreamFacts{ESP_STREAM_CPU, index, cpu_threads_, name}, failure_,
                                       [this](uint32_t gone) { streams_.remove(gone); });
  });
  if (stream->index() >= tickets_.size()) tickets_.resize(stream->index() + 1);
  Tickets& tickets = tickets_[stream->index()];
  if (tickets.counter == nullptr) {
    void* counter = nullptr;
    check_cuda(cudaHostAlloc(&counter, sizeof(uint32_t), cudaHostAllocPortable), "allocating pinned memory");
    tickets.counter = new (counter) uint32_t{0};
  }
  has_cpu_streams_ = true;
  const int32_t device = index_;
  stream->push_always([device] { cudaSetDevice(device); });  // for copies that its thread makes
  return stream;
}

std::unique_ptr<Event> CudaDevice::create_event() { return std::make_unique<CudaEvent>(); }

void CudaDevice::refuse_in_capture(const char* what) const {
  if (capturing_) throw Error(ExitCode::kPlugin, std::string(what) + " cannot be captured into a graph");
}

void CudaDevice::record(Event& event, Stream& stream) {
  check();
  CudaEvent& mine = cuda(event);
  if (on_gpu(stream)) {
    mine.cpu.reset();
    mine.gpu = std::make_shared<GpuMoment>(events_, raw(stream));
    return;
  }
  refuse_in_capture("a stream of the CPU");
  Tickets& tickets = tickets_[stream.index()];
  auto moment = std::make_shared<CpuMoment>();
  moment->counter = tickets.counter;
  moment->ticket = ++tickets.issued;
  mine.gpu.reset();
  mine.cpu = moment;
  cpu(stream).push_always([moment = std::move(moment)] {
    std::atomic_ref<uint32_t>(*moment->counter).store(moment->ticket, std::memory_order_release);
    moment->done.signal();
  });
}

void CudaDevice::wait(Stream& stream, Event& event) {
  check();
  CudaEvent& mine = cuda(event);
  if (mine.gpu == nullptr && mine.cpu == nullptr) return;
  if (on_gpu(stream)) {
    if (mine.gpu != nullptr) {
      check_cuda(cudaStreamWaitEvent(raw(stream), mine.gpu->event(), 0), "waiting on stream '" + stream.name() + "'");
      return;
    }
    refuse_in_capture("waiting for a stream of the CPU");
    const CUresult status = wait_value_(raw(stream), reinterpret_cast<CUdeviceptr>(mine.cpu->counter), mine.cpu->ticket,
                                        CU_STREAM_WAIT_VALUE_GEQ);
    if (status != CUDA_SUCCESS) {
      throw Error(ExitCode::kResource, "stream '" + stream.name() + "' cannot wait for the CPU: driver error " +
                                           std::to_string(static_cast<int>(status)));
    }
    return;
  }
  refuse_in_capture("a stream of the CPU");
  // Even after a failure: whoever owes the signal gives it.
  if (mine.cpu != nullptr) {
    cpu(stream).push_always([moment = mine.cpu] { moment->done.wait(); });
    return;
  }
  cpu(stream).push_always([this, moment = mine.gpu] { note_failure(cudaEventSynchronize(moment->event())); });
}

void CudaDevice::note_failure(cudaError_t status) {
  if (status == cudaSuccess) return;
  failure_.set(std::make_exception_ptr(
      Error(ExitCode::kResource, std::string("the GPU failed: ") + cudaGetErrorString(status))));
}

void CudaDevice::synchronize(Event& event) {
  CudaEvent& mine = cuda(event);
  if (mine.cpu != nullptr) mine.cpu->done.wait();
  if (mine.gpu == nullptr) return;
  note_failure(cudaEventSynchronize(mine.gpu->event()));
}

void CudaDevice::enqueue(Stream& stream, std::function<void()> fn) {
  check();
  if (!on_gpu(stream)) {
    refuse_in_capture("work on a stream of the CPU");
    cpu(stream).push(std::move(fn));
    return;
  }
  auto call = std::make_unique<HostCall>(HostCall{this, std::move(fn), capturing_});
  check_cuda(cudaLaunchHostFunc(raw(stream), &CudaDevice::run_host_call, call.get()), "enqueuing a host function");
  if (capturing_) {
    captured_calls_.push_back(std::move(call));
  } else {
    call.release();  // deletes itself when it has run
  }
}

void CUDART_CB CudaDevice::run_host_call(void* data) {
  auto* call = static_cast<HostCall*>(data);
  const std::unique_ptr<HostCall> once(call->repeats ? nullptr : call);
  if (call->device->failure_.failed()) return;
  try {
    call->fn();
  } catch (...) {
    call->device->failure_.set(std::current_exception());
  }
}

void CudaDevice::sync(Stream& stream) {
  if (on_gpu(stream)) {
    const cudaError_t status = cudaStreamSynchronize(raw(stream));
    check();
    check_cuda(status, "waiting for the GPU");
    return;
  }
  cpu(stream).wait_idle();
  check();
}

void CudaDevice::drain() noexcept {
  for (Stream* stream : streams_.all()) {
    if (!on_gpu(*stream)) cpu(*stream).wait_idle();
  }
  cudaDeviceSynchronize();
}

void CudaDevice::fail(std::exception_ptr failure) noexcept {
  failure_.set(std::move(failure));
  std::map<uint64_t, std::function<void()>> acts;
  {
    std::lock_guard lock(acts_mutex_);
    acts.swap(failure_acts_);
  }
  for (const auto& [id, act] : acts) act();
}

uint64_t CudaDevice::on_failure(std::function<void()> act) {
  std::lock_guard lock(acts_mutex_);
  failure_acts_[next_act_] = std::move(act);
  return next_act_++;
}

void CudaDevice::forget_failure(uint64_t id) {
  std::lock_guard lock(acts_mutex_);
  failure_acts_.erase(id);
}

std::unique_ptr<TimeMark> CudaDevice::mark(Stream& stream) {
  const bool is_old = anchor_ == nullptr || std::chrono::steady_clock::now() - anchored_ > kAnchorAge;
  if (is_old && !capturing_) set_anchor();
  return std::make_unique<CudaTimeMark>(anchor_, raw(stream), capturing_);
}

void CudaDevice::set_anchor() {
  anchor_ = std::make_shared<CudaTimeMark::Anchor>(anchor_, compute_->raw());
  anchored_ = std::chrono::steady_clock::now();
}

void CudaDevice::begin_capture() {
  check();
  set_anchor();  // marks in the graph need one, and none can be set while capturing
  check_cuda(cudaStreamSynchronize(compute_->raw()), "waiting for the GPU before a capture");
  torch_side::begin_capture(index_);
  // Thread-local: other threads (LibTorch's, watchdogs) may go on calling the driver.
  const cudaError_t status = cudaStreamBeginCapture(compute_->raw(), cudaStreamCaptureModeThreadLocal);
  if (status != cudaSuccess) torch_side::end_capture(index_);
  check_cuda(status, "beginning to capture a step");
  capturing_ = true;
}

std::unique_ptr<Graph> CudaDevice::end_capture() {
  cudaGraph_t graph = nullptr;
  const cudaError_t status = cudaStreamEndCapture(compute_->raw(), &graph);
  torch_side::end_capture(index_);
  capturing_ = false;
  std::vector<std::shared_ptr<void>> owned;
  for (auto& call : captured_calls_) owned.emplace_back(std::move(call));
  captured_calls_.clear();
  check_cuda(status, "capturing a step");
  return std::make_unique<CudaGraph>(graph, std::move(owned));
}

void CudaDevice::abandon_capture() noexcept {
  if (!capturing_) return;
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(compute_->raw(), &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  torch_side::end_capture(index_);
  capturing_ = false;
  captured_calls_.clear();
}

void CudaDevice::launch(Graph& graph) {
  check();
  check_cuda(cudaGraphLaunch(static_cast<CudaGraph&>(graph).exec(), compute_->raw()), "launching the graph of a step");
}

ForeignMemory CudaDevice::foreign_memory() {
  ForeignMemory memory = torch_side::memory(index_);
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) == cudaSuccess) device_peak_ = std::max<uint64_t>(device_peak_, total - free);
  memory.device_peak = device_peak_;
  return memory;
}

}  // namespace esp::runtime
