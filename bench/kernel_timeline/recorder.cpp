// A library that CUDA loads into any process (CUDA_INJECTION64_PATH) and that writes down when which kernel, copy and
// memset ran on the device. Nodes of CUDA graphs are recorded one by one, and what they wait for.
//   KERNEL_TIMELINE_OUT  files are NAME.<pid>.csv [kernel_timeline]
//   KERNEL_TIMELINE_CUPTI  libcupti to load, where the loader does not find the one of this CUDA version by itself
// One line an activity: see kHeader; times in nanoseconds. Beside them `edge,NODE,NODE THAT WAITS FOR IT` and
// `clone,NODE,NODE THAT RUNS IN ITS PLACE`. bench/kernel_timeline/steps.py reads it. A process that ends without exit
// handlers loses what is not yet delivered, some two thousand activities.
#include <cuda.h>
#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <unordered_map>

namespace {

constexpr size_t kBufferBytes = 256 << 10;  // small, so that little is lost with a process that is killed
constexpr size_t kAlignment = 8;
constexpr uint32_t kFlushMs = 100;
constexpr char kHeader[] =
    "kind,start,end,device,stream,graph,node,correlation,grid,block,registers,static_smem,dynamic_smem,bytes,name\n";

struct Cupti {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks;
  decltype(&cuptiActivityEnable) enable;
  decltype(&cuptiActivityFlushAll) flush_all;
  decltype(&cuptiActivityFlushPeriod) flush_period;
  decltype(&cuptiActivityGetNextRecord) next_record;
  decltype(&cuptiActivityGetNumDroppedRecords) dropped;
  decltype(&cuptiGetResultString) result_string;
  decltype(&cuptiSubscribe) subscribe;
  decltype(&cuptiEnableCallback) enable_callback;
  decltype(&cuptiGetGraphNodeId) graph_node_id;
};

// Lives as long as the process: CUPTI's own thread may deliver until the very end.
struct Recorder {
  Cupti cupti{};
  std::mutex mutex;
  FILE* file = nullptr;
  std::string path;
  uint64_t n_activities = 0, n_dropped = 0;
  std::unordered_map<const char*, std::string> names;  // by address: CUPTI keeps one string a kernel
};
Recorder* recorder = nullptr;

void say(const char* what, const char* why) {
  std::fprintf(stderr, "kernel_timeline (process %d): %s: %s\n", static_cast<int>(getpid()), what, why);
}

bool succeeded(CUptiResult result, const char* what) {
  if (result == CUPTI_SUCCESS) return true;
  const char* text = nullptr;
  recorder->cupti.result_string(result, &text);
  say(what, ((text == nullptr ? "unknown" : text) + std::string(" (") + std::to_string(result) + ")").c_str());
  return false;
}

const char* readable(const char* name) {
  if (name == nullptr) return "unnamed";
  const auto [at, is_new] = recorder->names.try_emplace(name);
  if (is_new) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                           &std::free);
    at->second = status == 0 && text ? text.get() : name;
  }
  return at->second.c_str();
}

template <class Activity>
void write_common(const char* kind, const Activity& a) {
  const auto n = [](auto value) { return static_cast<unsigned long long>(value); };
  std::fprintf(recorder->file, "%s,%llu,%llu,%u,%u,%u,%llu,%u,", kind, n(a.start), n(a.end), a.deviceId, a.streamId,
               a.graphId, n(a.graphNodeId), a.correlationId);
}

void write(const CUpti_ActivityKernel10& a) {
  write_common("kernel", a);
  std::fprintf(recorder->file, "%dx%dx%d,%dx%dx%d,%u,%d,%d,,%s\n", a.gridX, a.gridY, a.gridZ, a.blockX, a.blockY,
               a.blockZ, a.registersPerThread, a.staticSharedMemory, a.dynamicSharedMemory, readable(a.name));
}

void write(const CUpti_ActivityMemcpy6& a) {
  write_common("copy", a);
  constexpr const char* kWays[] = {"unknown",          "host to device", "device to host",  "host to array",
                                   "array to host",    "array to array", "array to device", "device to array",
                                   "device to device", "host to host",   "peer to peer"};
  std::fprintf(recorder->file, ",,,,,%llu,%s\n", static_cast<unsigned long long>(a.bytes),
               a.copyKind < std::size(kWays) ? kWays[a.copyKind] : kWays[0]);
}

void write(const CUpti_ActivityMemset4& a) {
  write_common("memset", a);
  std::fprintf(recorder->file, ",,,,,%llu,memset\n", static_cast<unsigned long long>(a.bytes));
}

void write(const CUpti_Activity& record) {
  switch (record.kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
      return write(reinterpret_cast<const CUpti_ActivityKernel10&>(record));
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      return write(reinterpret_cast<const CUpti_ActivityMemcpy6&>(record));
    case CUPTI_ACTIVITY_KIND_MEMSET:
      return write(reinterpret_cast<const CUpti_ActivityMemset4&>(record));
    default:
      return;
  }
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* bytes, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, kBufferBytes));
  *bytes = *buffer == nullptr ? 0 : kBufferBytes;
  *max_records = 0;
}

void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t* buffer, size_t /*bytes*/, size_t valid) {
  const std::lock_guard<std::mutex> lock(recorder->mutex);
  for (CUpti_Activity* record = nullptr; valid > 0;) {
    if (recorder->cupti.next_record(buffer, valid, &record) != CUPTI_SUCCESS) break;
    write(*record);
    ++recorder->n_activities;
  }
  size_t dropped = 0;
  if (recorder->cupti.dropped(context, stream, &dropped) == CUPTI_SUCCESS) recorder->n_dropped += dropped;
  std::fflush(recorder->file);
  std::free(buffer);
}

void write_pair(const char* kind, CUgraphNode from, CUgraphNode to) {
  uint64_t ids[2] = {};
  if (recorder->cupti.graph_node_id(from, &ids[0]) != CUPTI_SUCCESS) return;
  if (recorder->cupti.graph_node_id(to, &ids[1]) != CUPTI_SUCCESS) return;
  const std::lock_guard<std::mutex> lock(recorder->mutex);
  std::fprintf(recorder->file, "%s,%llu,%llu\n", kind, static_cast<unsigned long long>(ids[0]),
               static_cast<unsigned long long>(ids[1]));
}

// What waits for what: told as a graph is built, of the nodes as they are then; what runs later are clones of them.
void CUPTIAPI graph_event(void* /*unused*/, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void* data) {
  if (domain != CUPTI_CB_DOMAIN_RESOURCE) return;
  const auto& graph =
      *static_cast<const CUpti_GraphData*>(static_cast<const CUpti_ResourceData*>(data)->resourceDescriptor);
  if (id == CUPTI_CBID_RESOURCE_GRAPHNODE_DEPENDENCY_CREATED) write_pair("edge", graph.dependency, graph.node);
  if (id == CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED) write_pair("clone", graph.originalNode, graph.node);
}

void finish() {
  succeeded(recorder->cupti.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "flushing");
  const std::lock_guard<std::mutex> lock(recorder->mutex);
  say(recorder->path.c_str(),
      (std::to_string(recorder->n_activities) + " activities, " + std::to_string(recorder->n_dropped) + " dropped")
          .c_str());
}

bool load(Cupti& cupti) {
  const std::string usual = "libcupti.so." + std::to_string(CUDA_VERSION / 1000);
  const char* given = std::getenv("KERNEL_TIMELINE_CUPTI");
  void* library = dlopen(given != nullptr ? given : usual.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) return say("loading CUPTI", dlerror()), false;
  bool complete = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr) say("loading CUPTI", name), complete = false;
  };
  find(cupti.register_callbacks, "cuptiActivityRegisterCallbacks");
  find(cupti.enable, "cuptiActivityEnable");
  find(cupti.flush_all, "cuptiActivityFlushAll");
  find(cupti.flush_period, "cuptiActivityFlushPeriod");
  find(cupti.next_record, "cuptiActivityGetNextRecord");
  find(cupti.dropped, "cuptiActivityGetNumDroppedRecords");
  find(cupti.result_string, "cuptiGetResultString");
  find(cupti.subscribe, "cuptiSubscribe");
  find(cupti.enable_callback, "cuptiEnableCallback");
  find(cupti.graph_node_id, "cuptiGetGraphNodeId");
  return complete;
}

bool open_file() {
  const char* given = std::getenv("KERNEL_TIMELINE_OUT");
  recorder->path = std::string(given == nullptr ? "kernel_timeline" : given) + "." + std::to_string(getpid()) + ".csv";
  recorder->file = std::fopen(recorder->path.c_str(), "w");
  if (recorder->file == nullptr) return say(recorder->path.c_str(), "cannot be written"), false;
  std::fputs(kHeader, recorder->file);
  return true;
}

void follow_graphs() {
  const Cupti& cupti = recorder->cupti;
  CUpti_SubscriberHandle subscriber = nullptr;
  if (!succeeded(cupti.subscribe(&subscriber, graph_event, nullptr), "subscribing")) return;
  for (const CUpti_CallbackId id :
       {CUPTI_CBID_RESOURCE_GRAPHNODE_DEPENDENCY_CREATED, CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED}) {
    succeeded(cupti.enable_callback(1, subscriber, CUPTI_CB_DOMAIN_RESOURCE, id), "following graphs");
  }
}

bool start() {
  const Cupti& cupti = recorder->cupti;
  return succeeded(cupti.register_callbacks(give_buffer, take_buffer), "registering callbacks") &&
         succeeded(cupti.enable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL), "enabling kernels") &&
         succeeded(cupti.enable(CUPTI_ACTIVITY_KIND_MEMCPY), "enabling copies") &&
         succeeded(cupti.enable(CUPTI_ACTIVITY_KIND_MEMSET), "enabling memsets") &&
         succeeded(cupti.flush_period(kFlushMs), "setting the flush period");
}

}  // namespace

// Called by CUDA as it starts. 1: fine; anything else is looked over, the process goes on without a recording.
extern "C" __attribute__((visibility("default"))) int InitializeInjection() {
  if (recorder != nullptr) return 1;
  auto fresh = std::make_unique<Recorder>();
  if (!load(fresh->cupti)) return 0;
  recorder = fresh.release();
  if (!open_file() || !start()) return 0;
  follow_graphs();  // without it there is no critical path, all else is
  std::atexit(finish);
  return 1;
}
