#include "mock_world.hpp"

#include <thread>
#include <utility>

#include "element.hpp"

namespace {

std::vector<double> loaded(const void* data, uint64_t n, esp_dtype dtype) {
  std::vector<double> values(n);
  for (uint64_t i = 0; i < n; ++i) values[i] = esp::verify::load(data, i, dtype);
  return values;
}

// In the order of the ranks, in fp32.
float reduced(const std::vector<std::vector<double>>& parts, uint64_t i, uint32_t op) {
  auto sum = static_cast<float>(parts[0].at(i));
  for (size_t r = 1; r < parts.size(); ++r) sum += static_cast<float>(parts[r].at(i));
  return op == ESP_AVG ? sum / static_cast<float>(parts.size()) : sum;
}

void wait_until(const std::atomic<uint64_t>& counter, uint64_t value) {
  while (counter.load(std::memory_order_acquire) < value) std::this_thread::yield();
}

}  // namespace

MockWorld::MockWorld(int size) : size_(size) {
  for (Meeting& meeting : meetings_) meeting.parts.resize(static_cast<size_t>(size));
}

template <class Take>
void MockWorld::meet(int rank, uint64_t number, std::vector<double> part, const Take& take) {
  const auto ranks = static_cast<uint64_t>(size_), turn = number / meetings_.size();
  Meeting& meeting = meetings_[number % meetings_.size()];
  wait_until(meeting.left, turn * ranks);
  meeting.parts[static_cast<size_t>(rank)] = std::move(part);
  meeting.arrived.fetch_add(1, std::memory_order_acq_rel);
  wait_until(meeting.arrived, (turn + 1) * ranks);
  take(std::as_const(meeting.parts));
  meeting.left.fetch_add(1, std::memory_order_acq_rel);
}

void MockWorld::all_reduce(int rank, uint64_t number, const void* in, void* out, uint64_t n, esp_dtype dtype,
                           uint32_t op) {
  meet(rank, number, loaded(in, n, dtype), [&](const Parts& parts) {
    for (uint64_t i = 0; i < n; ++i) from_float(out, i, dtype, reduced(parts, i, op));
  });
}

void MockWorld::reduce_scatter(int rank, uint64_t number, const void* in, void* out, uint64_t n_out, esp_dtype dtype,
                               uint32_t op) {
  const uint64_t begin = static_cast<uint64_t>(rank) * n_out;
  meet(rank, number, loaded(in, n_out * static_cast<uint64_t>(size_), dtype), [&](const Parts& parts) {
    for (uint64_t i = 0; i < n_out; ++i) from_float(out, i, dtype, reduced(parts, begin + i, op));
  });
}

void MockWorld::all_gather(int rank, uint64_t number, const void* in, void* out, uint64_t n_in, esp_dtype dtype) {
  meet(rank, number, loaded(in, n_in, dtype), [&](const Parts& parts) {
    for (uint64_t r = 0; r < parts.size(); ++r) {
      for (uint64_t i = 0; i < n_in; ++i) esp::verify::store(out, r * n_in + i, dtype, parts[r].at(i));
    }
  });
}

double MockWorld::sum(int rank, uint64_t number, double value) {
  double total = 0;
  meet(rank, number, {value}, [&](const Parts& parts) {
    for (const std::vector<double>& part : parts) total += part.at(0);
  });
  return total;
}
