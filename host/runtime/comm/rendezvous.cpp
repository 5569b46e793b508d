#include "runtime/comm/rendezvous.hpp"

#include <numeric>
#include <set>
#include <utility>

#include "error.hpp"
#include "runtime/comm/gloo_control_group.hpp"
#include "runtime/comm/gloo_group.hpp"
#include "runtime/comm/lost_peer.hpp"
#include "runtime/comm/queued_communicator.hpp"
#include "runtime/comm/staged_communicator.hpp"

namespace esp::runtime {
namespace {

// Over the CPU: the CPU device's memory itself, or copies of a GPU's.
std::unique_ptr<Communicator> over_host(Device& device, std::shared_ptr<GlooStore> store,
                                        std::unique_ptr<GlooGroup> group, GroupFacts facts) {
  auto host = std::make_unique<HostCollectives>(std::move(store), std::move(group), std::move(facts));
  if (device.kind() == ESP_CPU) return std::make_unique<QueuedCommunicator>(device, std::move(host));
  return std::make_unique<StagedCommunicator>(device, std::move(host));
}

size_t distinct(const std::vector<std::string>& identities) {
  return std::set<std::string>(identities.begin(), identities.end()).size();
}

}  // namespace

World connect(const RankFacts& facts, double timeout_s, Device& device, const GpuFacts& gpu) {
  GroupFacts group{"data", facts.rank, std::vector<int32_t>(static_cast<size_t>(facts.world))};
  std::iota(group.members.begin(), group.members.end(), 0);
  const std::string ranks = std::to_string(facts.world) + " ranks";
  World world;
  if (facts.world == 1) {
    world.data = over_host(device, nullptr, nullptr, std::move(group));
    world.control = std::make_unique<GlooControlGroup>(nullptr, 0, 1);
    world.how = "no collectives: one rank";
    return world;
  }
  std::shared_ptr<GlooStore> store = GlooStore::open(facts, timeout_s);
  size_t n_gpus = 0;
  try {
    auto control = store->group("control", facts.rank, facts.world);
    world.control = std::make_unique<GlooControlGroup>(std::move(control), facts.rank, facts.world);
    if (device.kind() != ESP_CPU) n_gpus = distinct(world.control->all_gather(gpu.identity));
    if (n_gpus < group.size()) {
      auto data = store->group("data", facts.rank, facts.world);
      world.data = over_host(device, store, std::move(data), group);
      world.how = n_gpus == 0 ? "Gloo between " + ranks
                              : "Gloo through pinned memory: " + ranks + " share " + std::to_string(n_gpus) + " GPU(s)";
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception& failure) {
    throw lost_peer(facts.rank, group.members, "the meeting", failure.what());
  }
  if (world.data == nullptr) {
    world.data = gpu.make_nccl(*world.control);
    world.how = "NCCL between " + std::to_string(n_gpus) + " GPUs";
  }
  return world;
}

}  // namespace esp::runtime
