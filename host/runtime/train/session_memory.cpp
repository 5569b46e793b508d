// What memory a session takes, and what it tells a strategy that adapts to it.
#include <sys/resource.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "runtime/train/memory_profile.hpp"
#include "runtime/train/session.hpp"

namespace esp::runtime {
namespace {

uint64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

void Session::adapt() {
  device->sync(device->compute());
  adapt_to(peak_of_model());
  device->sync(device->compute());
  driver->forget_graphs();
}

uint64_t Session::peak_of_model() {
  const uint64_t from_host = model_services->arena().used(ESP_DEVICE);
  if (device->kind() == ESP_CUDA) return from_host + device->foreign_memory().torch_allocated_peak;
  uint64_t own[ESP_N_TAGS] = {};
  model->call_if_present("memory_stats", &esp_model_v1::memory_stats, own);
  return std::accumulate(std::begin(own), std::end(own), from_host);
}

// What saving will need is taken for granted: it comes when the strategy holds what it now decides to hold.
void Session::adapt_to(uint64_t model_peak) {
  const uint64_t of_host = device->memory().usage().device_current - strategy_services->arena().used(ESP_DEVICE) -
                           model_services->arena().used(ESP_DEVICE);
  MemoryProfile profile(view->view(), need_, model_run_.recompute);
  profile.observe(model_peak);
  profile.add(of_host + ShardStaging::kDeviceBytes);
  profile.agree(*world.control, run_.budget_device);
  const esp_profile table = profile.table();
  strategy->call("adapt", &esp_strategy_v1::adapt, &table);
}

MemoryReport Session::memory_report() {
  const MemoryUsage usage = device->memory().usage();
  uint64_t of_model[ESP_N_TAGS] = {};
  model->call_if_present("memory_stats", &esp_model_v1::memory_stats, of_model);
  MemoryByTag mine{usage.peak, usage.device.peak, usage.pinned.peak};
  uint64_t model_bytes = 0;
  for (uint32_t tag = 0; tag < ESP_N_TAGS; ++tag) {
    mine.both[tag] += of_model[tag];
    mine.device[tag] += of_model[tag];
    model_bytes += of_model[tag];
  }
  const ForeignMemory foreign = device->foreign_memory();
  const bool on_gpu = device->kind() == ESP_CUDA;
  const uint64_t allocated = on_gpu ? usage.device_peak + foreign.torch_allocated_peak : usage.total_peak + model_bytes;
  std::vector<double> totals = {static_cast<double>(allocated),
                                static_cast<double>(on_gpu ? foreign.device_peak : peak_resident_bytes())};
  world.control->all_reduce(totals, ControlOp::kMax);
  MemoryReport report;
  report.by_tag = max_over_ranks(*world.control, mine);
  report.peak_allocated_bytes = static_cast<uint64_t>(totals[0]);
  report.peak_device_bytes = static_cast<uint64_t>(totals[1]);
  return report;
}

MemoryByTag max_over_ranks(ControlGroup& group, const MemoryByTag& bytes) {
  std::vector<double> values;
  for (const TagBytes* tags : {&bytes.both, &bytes.device, &bytes.pinned}) {
    values.insert(values.end(), tags->begin(), tags->end());
  }
  group.all_reduce(values, ControlOp::kMax);
  MemoryByTag largest;
  auto value = values.begin();
  for (TagBytes* tags : {&largest.both, &largest.device, &largest.pinned}) {
    for (uint64_t& tag : *tags) tag = static_cast<uint64_t>(*value++);
  }
  return largest;
}

}  // namespace esp::runtime
