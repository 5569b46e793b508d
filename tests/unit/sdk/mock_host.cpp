#include "mock_host.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "runtime/device/update_step.hpp"

const void* mock_service(void* ctx, const char* id);  // mock_tables.cpp
esp_status mock_bind(void* ctx, const esp_bind* binds, uint32_t n, esp_error* error);

MockHost::MockHost(MockWorld& world, int rank, const MockUpdate& update) : world_(world), rank_(rank) {
  slot_ = {sizeof slot_, ESP_F32, "momentum"};
  slots_[0] = &slot_;
  desc_ = {sizeof desc_, update.flags, update.master, update.momentum ? 1u : 0u, slots_};
  host_ = {sizeof host_, 0, this, mock_service};
  binder_ = {sizeof binder_, 0, this, mock_bind};
  compute_.role = esp_stream_s::kCompute;
  grads_.role = esp_stream_s::kGrads;
  grads_.number = 1;
  rules_.adamw = false;
  rules_.clip_norm = update.clip_norm;
  rules_.barrier = (update.flags & ESP_UPDATE_BARRIER) != 0;
  block_.loss_scale = 1;
}

MockHost::~MockHost() {
  for (const auto& [address, allocation] : allocations) std::free(const_cast<char*>(address));
}

void MockHost::fork() {
  ++step_;
  reduced_ = false;
  armed_.clear();
  norm_elements_before = norm_elements;
  norm_parts_.clear();
  norm_ops_.clear();
  accesses_.clear();
  sync();
  grads_.seen = compute_.seen;
  for (esp_stream_s& stream : streams_) stream.seen.insert(compute_.seen);
}

MockHost::Segment MockHost::join() {
  const Segment segment = {segment_begin_, ops.size(), n_meetings_};
  sync();
  compute_.seen.insert(grads_.seen);
  for (const esp_stream_s& stream : streams_) compute_.seen.insert(stream.seen);
  return segment;
}

void MockHost::sync() {
  run({segment_begin_, ops.size(), n_meetings_});
  drop();
}

void MockHost::drop() {
  segment_begin_ = ops.size();
  n_meetings_ = 0;
}

void MockHost::run(const Segment& segment) {
  if (on_threads) {
    run_on_threads(segment);
  } else {
    for (size_t op = segment.begin; op < segment.end; ++op) {
      if (ops[op].run) ops[op].run();
    }
  }
  meetings_before_ += segment.meetings;
}

void MockHost::run_on_threads(const Segment& segment) {
  std::vector<std::atomic<bool>> done(segment.end - segment.begin);
  std::map<uint32_t, std::vector<size_t>> by_stream;
  for (size_t op = segment.begin; op < segment.end; ++op) by_stream[ops[op].stream].push_back(op);
  std::vector<std::thread> threads;
  for (const auto& entry : by_stream) {
    threads.emplace_back([&, &list = entry.second] {
      for (size_t op : list) {
        for (size_t earlier : ops[op].before) {
          if (earlier < segment.begin) continue;
          while (!done[earlier - segment.begin].load(std::memory_order_acquire)) std::this_thread::yield();
        }
        if (ops[op].run) ops[op].run();
        done[op - segment.begin].store(true, std::memory_order_release);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void MockHost::set_scaler(const esp_plan& plan) {
  rules_.dynamic_scale = plan.compute_t == ESP_F16;
  if (!rules_.dynamic_scale) return;
  if (plan.scale_min != 0) rules_.scale_min = plan.scale_min;
  if (plan.scale_window != 0) rules_.scale_window = plan.scale_window;
  if (plan.scale_hysteresis != 0) rules_.scale_hysteresis = plan.scale_hysteresis;
  block_.loss_scale = plan.scale_init != 0 ? plan.scale_init : 65536.0f;
  block_.hysteresis_left = rules_.scale_hysteresis;
}

void MockHost::begin_numbers() {
  esp::runtime::UpdateInputs inputs;
  inputs.step = index_++;
  esp::runtime::begin_numbers(block_, rules_, inputs);
}

void MockHost::end_numbers() { esp::runtime::end_numbers(block_, rules_, updates.emplace_back()); }

namespace {

bool contains(const OpSet& set, const std::vector<size_t>& ops) {
  return std::all_of(ops.begin(), ops.end(), [&](size_t op) { return set.count(op) != 0; });
}

}  // namespace

// Waits are numbered as they are called, so that the same number is the same wait in each run.
bool MockHost::swallows(esp_stream waiting, const esp_event_s& event) {
  const auto name = [](const esp_stream_s& stream) {
    const std::string number = std::to_string(stream.number);
    if (stream.role == esp_stream_s::kCompute) return std::string("compute");
    if (stream.role == esp_stream_s::kGrads) return std::string("grads");
    return (stream.place == ESP_PINNED ? "cpu" : "side") + number;
  };
  const size_t number = waits.size();
  const std::string what = now + ": " + name(*waiting) + " for " + (event.on == nullptr ? "nothing" : name(*event.on));
  waits.push_back({what, event.before, !contains(waiting->seen, event.before)});
  for (size_t earlier : waiting->open_waits) {
    if (contains(event.seen, waits[earlier].last)) waits[earlier].covered = true;
  }
  waiting->open_waits.push_back(number);
  return swallowed_waits.count(number) != 0;
}

bool MockHost::forgets(esp_stream waiting, const esp_event_s& event) const {
  if (event.on == nullptr) return false;
  const bool to_cpu = waiting->place == ESP_PINNED, from_cpu = event.on->place == ESP_PINNED;
  switch (mistake) {
    case Mistake::kNoWaitForGradients:
      return event.on->role == esp_stream_s::kGrads;
    case Mistake::kNoWaitForModel:
      return event.on->role == esp_stream_s::kCompute && waiting->role == esp_stream_s::kSide;
    case Mistake::kNoWaitForGathered:
      return waiting->role == esp_stream_s::kCompute;
    case Mistake::kNoWaitForCopyToHost:
      return to_cpu && event.on->role == esp_stream_s::kSide;
    case Mistake::kNoWaitForCpuUpdate:
      return from_cpu;
    default:
      return false;
  }
}

const std::pair<const char* const, MockHost::Allocation>* MockHost::allocation_of(const void* data,
                                                                                  uint64_t bytes) const {
  const auto* address = static_cast<const char*>(data);
  auto allocation = allocations.upper_bound(address);
  if (allocation == allocations.begin()) return nullptr;
  --allocation;
  return address + bytes <= allocation->first + allocation->second.bytes ? &*allocation : nullptr;
}

void MockHost::touch(size_t op, const void* data, uint64_t bytes, esp_stream stream, bool any, bool writes) {
  if (bytes == 0) return;
  const auto* allocation = allocation_of(data, bytes);
  if (allocation == nullptr) {
    violations.push_back(ops[op].what + " touches memory outside allocations");
    ops[op].run = {};
    return;
  }
  if (!any && allocation->second.place != stream->place)
    violations.push_back(ops[op].what + " touches the other place");
  const auto* begin = static_cast<const char*>(data);
  for (const Access& earlier : accesses_) {
    const bool conflicts = earlier.begin < begin + bytes && begin < earlier.end && (writes || earlier.writes);
    if (conflicts && earlier.op != op && ops[op].after.count(earlier.op) == 0) {
      violations.push_back(ops[op].what + " may run before " + ops[earlier.op].what + " (same memory)");
    }
  }
  accesses_.push_back({begin, begin + bytes, op, writes});
}

size_t MockHost::enqueue(const std::string& what, esp_stream stream, std::function<void()> run) {
  Op op;
  op.what = what;
  op.after = stream->seen;
  op.before = stream->before;
  op.stream = stream->number;
  op.run = std::move(run);
  ops.push_back(std::move(op));
  stream->seen.insert(ops.size() - 1);
  stream->before = {ops.size() - 1};
  stream->open_waits.clear();
  return ops.size() - 1;
}
