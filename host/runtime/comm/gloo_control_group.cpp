#include "runtime/comm/gloo_control_group.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "runtime/comm/lost_peer.hpp"

namespace esp::runtime {
namespace {

double reduced(double a, double b, ControlOp op) {
  if (op == ControlOp::kSum) return a + b;
  if (std::isnan(a) || std::isnan(b)) return std::nan("");
  return op == ControlOp::kMax ? std::max(a, b) : std::min(a, b);
}

}  // namespace

GlooControlGroup::GlooControlGroup(std::unique_ptr<GlooGroup> group, int32_t rank, int32_t size)
    : group_(std::move(group)), rank_(rank), size_(size) {}

std::string GlooControlGroup::gather_equal(const void* data, uint64_t bytes, const char* what) {
  std::string all(bytes * static_cast<uint64_t>(size_), '\0');
  if (bytes == 0) return all;
  if (group_ == nullptr) {
    std::memcpy(all.data(), data, bytes);
    return all;
  }
  try {
    group_->all_gather(data, all.data(), bytes);
  } catch (const std::exception& failure) {
    std::vector<int32_t> members(static_cast<size_t>(size_));
    std::iota(members.begin(), members.end(), 0);
    throw lost_peer(rank_, members, std::string(what) + " of the training loop", failure.what());
  }
  return all;
}

std::vector<std::string> GlooControlGroup::all_gather(const std::string& bytes) {
  const uint64_t own = bytes.size();
  const std::string all_sizes = gather_equal(&own, sizeof(own), "gathering values");
  std::vector<uint64_t> sizes(static_cast<size_t>(size_));
  std::memcpy(sizes.data(), all_sizes.data(), all_sizes.size());
  const uint64_t largest = *std::max_element(sizes.begin(), sizes.end());
  std::string padded = bytes;
  padded.resize(largest);
  const std::string all = gather_equal(padded.data(), largest, "gathering values");
  std::vector<std::string> by_rank;
  for (size_t r = 0; r < sizes.size(); ++r) by_rank.push_back(all.substr(r * largest, sizes[r]));
  return by_rank;
}

// Small values: one gather costs no more than a broadcast of the size and one of the bytes.
std::string GlooControlGroup::broadcast(const std::string& bytes, int32_t root) {
  return all_gather(rank_ == root ? bytes : std::string())[static_cast<size_t>(root)];
}

// Gathered and reduced in the order of ranks on each of them: the same bits everywhere, and no NaN is lost.
void GlooControlGroup::all_reduce(std::span<double> values, ControlOp op) {
  const std::string all = gather_equal(values.data(), values.size_bytes(), "reducing values");
  std::vector<double> gathered(values.size() * static_cast<size_t>(size_));
  std::memcpy(gathered.data(), all.data(), all.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = gathered[i];
    for (size_t r = 1; r < static_cast<size_t>(size_); ++r) {
      values[i] = reduced(values[i], gathered[r * values.size() + i], op);
    }
  }
}

void GlooControlGroup::barrier() {
  const char here = 1;
  gather_equal(&here, 1, "a barrier");
}

}  // namespace esp::runtime
