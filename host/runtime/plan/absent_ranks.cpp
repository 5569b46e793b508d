#include "runtime/plan/absent_ranks.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace esp::runtime {
namespace {

class AbsentCommunicator final : public Communicator {
 public:
  AbsentCommunicator(int32_t rank, std::vector<int32_t> members) : rank_(rank), members_(std::move(members)) {}
  int32_t rank() const override { return rank_; }
  int32_t size() const override { return static_cast<int32_t>(members_.size()); }
  std::span<const int32_t> members() const override { return members_; }
  void all_reduce(const void*, void*, uint64_t, esp_dtype, uint32_t, Stream&) override {}
  void reduce_scatter(const void*, void*, uint64_t, esp_dtype, uint32_t, Stream&) override {}
  void all_gather(const void*, void*, uint64_t, esp_dtype, Stream&) override {}
  std::unique_ptr<Communicator> subset(std::span<const int32_t> ranks) override {
    const auto mine = std::find(ranks.begin(), ranks.end(), rank_);
    if (mine == ranks.end()) return nullptr;
    std::vector<int32_t> members;
    for (const int32_t rank : ranks) members.push_back(members_.at(static_cast<size_t>(rank)));
    return std::make_unique<AbsentCommunicator>(static_cast<int32_t>(mine - ranks.begin()), std::move(members));
  }
  CommCounters counters() const override { return {}; }

 private:
  int32_t rank_;
  std::vector<int32_t> members_;
};

class AbsentControlGroup final : public ControlGroup {
 public:
  AbsentControlGroup(int32_t rank, int32_t size) : rank_(rank), size_(size) {}
  int32_t rank() const override { return rank_; }
  int32_t size() const override { return size_; }
  std::string broadcast(const std::string& bytes, int32_t) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override {
    return std::vector<std::string>(static_cast<size_t>(size_), bytes);
  }
  void all_reduce(std::span<double>, ControlOp) override {}
  void barrier() override {}

 private:
  int32_t rank_, size_;
};

}  // namespace

World without_peers(int32_t rank, int32_t size) {
  std::vector<int32_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  World world;
  world.data = std::make_unique<AbsentCommunicator>(rank, std::move(all));
  world.control = std::make_unique<AbsentControlGroup>(rank, size);
  return world;
}

}  // namespace esp::runtime
