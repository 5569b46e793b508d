#include "runtime/comm/rendezvous.hpp"

#include <numeric>
#include <utility>

#include "error.hpp"
#include "runtime/comm/gloo_control_group.hpp"
#include "runtime/comm/gloo_group.hpp"
#include "runtime/comm/lost_peer.hpp"
#include "runtime/comm/queued_communicator.hpp"

namespace esp::runtime {

World connect(const RankFacts& facts, double timeout_s, Device& device) {
  if (device.kind() != ESP_CPU) throw Error(ExitCode::kInternal, "collectives over Gloo need the CPU device");
  GroupFacts group{"data", facts.rank, std::vector<int32_t>(static_cast<size_t>(facts.world))};
  std::iota(group.members.begin(), group.members.end(), 0);
  World world;
  if (facts.world == 1) {
    world.data = std::make_unique<QueuedCommunicator>(device, nullptr, nullptr, std::move(group));
    world.control = std::make_unique<GlooControlGroup>(nullptr, 0, 1);
    return world;
  }
  std::shared_ptr<GlooStore> store = GlooStore::open(facts, timeout_s);
  try {
    auto data = store->group("data", facts.rank, facts.world);
    auto control = store->group("control", facts.rank, facts.world);
    world.control = std::make_unique<GlooControlGroup>(std::move(control), facts.rank, facts.world);
    world.data = std::make_unique<QueuedCommunicator>(device, store, std::move(data), std::move(group));
  } catch (const std::exception& failure) {
    throw lost_peer(facts.rank, group.members, "the meeting", failure.what());
  }
  return world;
}

}  // namespace esp::runtime
