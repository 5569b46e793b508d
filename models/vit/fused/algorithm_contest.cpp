#include "algorithm_contest.hpp"

#include <algorithm>
#include <chrono>
#include <espalier/failure.hpp>

#include "algorithm_search.hpp"
#include "workspace_order.hpp"

namespace esp::vit::fused {
namespace {

constexpr float kBurstMs = 0.03f;  // of one contender in one round, about: events cost a microsecond
constexpr int kMostRepeats = 4;
constexpr float kMemsetMs = 0.003f;  // in a graph, beside what comes before it: see WorkspaceOrder
constexpr double kWarmSeconds = 0.15;
constexpr int kHeatRounds = 3;
constexpr float kWorthFinals = 1.12f;  // times the best
constexpr size_t kFinalists = 5;
constexpr double kFinalSeconds = 0.6;
constexpr int kFewestFinals = 7, kMostFinals = 80;

class Clock {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

Contest::Contest(const std::vector<MatmulPlan*>& plans, const TrialMemory& memory, cudaStream_t stream,
                 MatmulPlan::Workspace workspace)
    : memory_(memory), stream_(stream), workspace_(workspace) {
  for (MatmulPlan* plan : plans) {
    heats_.push_back({plan});
    for (const cublasLtMatmulAlgo_t& one : proposed(*plan, workspace.bytes, workspace.data)) {
      heats_.back().contenders.push_back({one});
    }
  }
}

Contest::~Contest() {
  for (const cudaEvent_t event : events_) cudaEventDestroy(event);
}

void Contest::run() {
  first_run();
  warm_up();
  for (int n = 0; n < kHeatRounds; ++n) round();
  keep(kWorthFinals, kFinalists);
  warm_up();
  const Clock finals;
  for (int n = 0; n < kFewestFinals || (n < kMostFinals && finals.seconds() < kFinalSeconds); ++n) round();
  keep(1, 1);
  for (Heat& heat : heats_) heat.plan->choose(heat.contenders.front().algorithm);
}

// Until the clock has settled at what the power allows.
void Contest::warm_up() {
  for (const Clock warming; warming.seconds() < kWarmSeconds;) round();
  forget_times();
}

// Untimed, since a kernel is loaded when it is launched first; and only what runs stays.
void Contest::first_run() {
  for (Heat& heat : heats_) {
    for (Contender& contender : heat.contenders) {
      call(heat, contender);
      if (!contender.fails) set_handicap(heat, contender);
    }
  }
  check(cudaStreamSynchronize(stream_), "timing products");
}

// A step is a graph, in which a memset costs more than on a stream, where it is timed.
void Contest::set_handicap(Heat& heat, Contender& contender) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capturing a product");
  call(heat, contender);
  check(cudaStreamEndCapture(stream_, &graph), "capturing a product");
  size_t n = 0;
  check(cudaGraphGetNodes(graph, nullptr, &n), "a product's graph");
  std::vector<cudaGraphNode_t> nodes(n);
  check(cudaGraphGetNodes(graph, nodes.data(), &n), "a product's graph");
  for (const cudaGraphNode_t node : nodes) {
    if (is_memset(node)) contender.handicap += kMemsetMs;
  }
  cudaGraphDestroy(graph);
}

void Contest::call(Heat& heat, Contender& contender) {
  try {
    heat.plan->enqueue(contender.algorithm, memory_.operands(heat.plan->shape(), heat.calls++), stream_, workspace_);
  } catch (const Failure&) {
    contender.fails = true;  // the library admits it, but does not run it after all
    cudaGetLastError();      // a refused launch must not show up at the next one
  }
}

void Contest::round() {
  size_t used = 0;
  std::vector<std::pair<Heat*, Contender*>> timed;
  for (Heat& heat : heats_) {
    for (size_t i = 0; i < heat.contenders.size(); ++i) {  // nobody is always the first
      Contender& contender = heat.contenders[(i + round_) % heat.contenders.size()];
      if (contender.fails) continue;
      check(cudaEventRecord(event(used++), stream_), "timing products");
      for (int j = 0; j < heat.repeats; ++j) call(heat, contender);
      check(cudaEventRecord(event(used++), stream_), "timing products");
      timed.emplace_back(&heat, &contender);
    }
  }
  check(cudaStreamSynchronize(stream_), "timing products");
  for (size_t i = 0; i < timed.size(); ++i) {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, events_[2 * i], events_[2 * i + 1]), "timing products");
    timed[i].second->ms.push_back(ms / static_cast<float>(timed[i].first->repeats));
  }
  for (Heat& heat : heats_) {
    const float ms = heat.contenders.front().ms.empty() ? kBurstMs : heat.contenders.front().ms.back();
    heat.repeats = std::clamp(static_cast<int>(kBurstMs / std::max(ms, 1e-3f)), 1, kMostRepeats);
  }
  ++round_;
}

void Contest::keep(float within, size_t most) {
  for (Heat& heat : heats_) {
    keep_fastest(heat.contenders, within, most);
    if (heat.contenders.empty()) {
      fail(ESP_E_DEVICE, "no algorithm of cuBLASLt runs for product ", heat.plan->shape().text());
    }
  }
}

void Contest::forget_times() {
  for (Heat& heat : heats_) {
    for (Contender& contender : heat.contenders) contender.ms.clear();
  }
}

cudaEvent_t Contest::event(size_t i) {
  while (events_.size() <= i) {
    events_.push_back(nullptr);
    check(cudaEventCreate(&events_.back()), "creating an event");
  }
  return events_[i];
}

}  // namespace esp::vit::fused
