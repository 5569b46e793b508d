#include "supervisor/environment.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "error.hpp"
#include "supervisor/slurm.hpp"

namespace esp {
namespace {

using Variables = std::map<std::string, std::string>;

std::optional<runtime::RankFacts> read(const Variables& variables, bool supervised = false) {
  return ranks_from(
      [&](const char* name) {
        const auto at = variables.find(name);
        return at == variables.end() ? std::nullopt : std::optional<std::string>(at->second);
      },
      supervised);
}

// The message of the usage error, or why there was none.
std::string refusal(const Variables& variables) {
  try {
    read(variables);
  } catch (const Error& error) {
    return error.code() == ExitCode::kUsage ? error.what() : "another exit code";
  }
  return "accepted";
}

Variables with(Variables variables, const Variables& changes) {
  for (const auto& [name, value] : changes) variables[name] = value;
  return variables;
}

Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

const Variables kTorchrun = {{"RANK", "3"},
                             {"WORLD_SIZE", "4"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "2"},
                             {"MASTER_ADDR", "node7"},
                             {"MASTER_PORT", "29500"},
                             {"TORCHELASTIC_RUN_ID", "job"},
                             {"TORCHELASTIC_RESTART_COUNT", "2"},
                             {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Variables kSlurm = {{"SLURM_PROCID", "5"},
                          {"SLURM_NTASKS", "6"},
                          {"SLURM_LOCALID", "1"},
                          {"SLURM_NODEID", "2"},
                          {"SLURM_JOB_ID", "1234567"},
                          {"SLURM_STEP_ID", "0"},
                          {"SLURM_NNODES", "3"},
                          {"SLURM_STEP_NODELIST", "n[05-09,12],m3"},
                          {"SLURM_STEP_TASKS_PER_NODE", "2(x3)"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                            {"OMPI_COMM_WORLD_SIZE", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
const Variables kPmi = {{"PMI_RANK", "1"},        {"PMI_SIZE", "4"},    {"MPI_LOCALRANKID", "1"},
                        {"MPI_LOCALNRANKS", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "7"}};

TEST(Environment, WithoutALauncherThereAreNoRanks) { EXPECT_FALSE(read({}).has_value()); }

TEST(Environment, EmptyVariablesCountAsAbsent) { EXPECT_FALSE(read({{"RANK", ""}, {"WORLD_SIZE", ""}}).has_value()); }

TEST(Environment, TorchrunWithTheAgentsStoreMakesEveryRankAClientOfThisAttempt) {
  const auto facts = read(kTorchrun);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->launcher, "torchrun");
  EXPECT_EQ(facts->rank, 3);
  EXPECT_EQ(facts->world, 4);
  EXPECT_EQ(facts->local_rank, 1);
  EXPECT_EQ(facts->local_world, 2);
  EXPECT_EQ(facts->master_addr, "node7");
  EXPECT_EQ(facts->master_port, 29500);
  EXPECT_TRUE(facts->store_is_served);
  EXPECT_EQ(facts->store_prefix, "/worker/attempt_2");
}

TEST(Environment, TorchrunWithoutTheAgentsStoreLetsRankZeroServe) {
  EXPECT_FALSE(read(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}}))->store_is_served);
}

TEST(Environment, TorchrunWinsInsideASlurmStep) { EXPECT_EQ(read(with(kSlurm, kTorchrun))->launcher, "torchrun"); }

TEST(Environment, RanksStartedByHandOnTheLoopbackAreAllLocal) {
  const auto facts = read({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "4000"}});
  EXPECT_EQ(facts->local_rank, 1);
  EXPECT_EQ(facts->local_world, 2);
}

TEST(Environment, RanksStartedByHandOnOtherHostsAreOneOnEach) {
  const auto facts = read({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node1"}, {"MASTER_PORT", "4000"}});
  EXPECT_EQ(facts->local_rank, 0);
  EXPECT_EQ(facts->local_world, 1);
}

TEST(Environment, SlurmTakesTheFirstHostAndAPortOutOfTheJobsNumber) {
  const auto facts = read(kSlurm);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->launcher, "slurm");
  EXPECT_EQ(facts->rank, 5);
  EXPECT_EQ(facts->world, 6);
  EXPECT_EQ(facts->local_rank, 1);
  EXPECT_EQ(facts->local_world, 2);
  EXPECT_EQ(facts->master_addr, "n05");
  EXPECT_EQ(facts->master_port, 15000 + 4567);
  EXPECT_FALSE(facts->store_is_served);
}

TEST(Environment, SlurmHonoursAGivenAddressAndPort) {
  const auto facts = read(with(kSlurm, {{"MASTER_ADDR", "head"}, {"MASTER_PORT", "600"}}));
  EXPECT_EQ(facts->master_addr, "head");
  EXPECT_EQ(facts->master_port, 600);
}

TEST(Environment, AShellInASlurmAllocationIsNoRank) {
  EXPECT_FALSE(read(with(kSlurm, {{"SLURM_JOB_NAME", "bash"}})));
  EXPECT_FALSE(read(with(kSlurm, {{"SLURM_JOB_NAME", "interactive"}})));
}

TEST(Environment, ASlurmBatchScriptIsNoRank) {
  Variables batch = without(without(kSlurm, "SLURM_STEP_ID"), "SLURM_STEP_NODELIST");
  batch["ENVIRONMENT"] = "BATCH";
  EXPECT_FALSE(read(batch));
}

TEST(Environment, ALauncherThatStartedOneProcessLeavesTheChoiceToNproc) {
  EXPECT_FALSE(read(with(kSlurm, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}})));
  EXPECT_FALSE(read({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}));
}

TEST(Environment, OpenMpiOnOneMachineMeetsOnTheLoopback) {
  const auto facts = read(with(kOpenMpi, {{"MASTER_PORT", "4000"}}));
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->launcher, "openmpi");
  EXPECT_EQ(facts->rank, 1);
  EXPECT_EQ(facts->local_rank, 1);
  EXPECT_EQ(facts->master_addr, "127.0.0.1");
  EXPECT_EQ(facts->master_port, 4000);
}

TEST(Environment, OpenMpiOnOneMachineDerivesAPortThatAllItsRanksAgreeOn) {
  const auto first = read(with(kOpenMpi, {{"PMIX_NAMESPACE", "prterun-a-17@1"}, {"OMPI_COMM_WORLD_RANK", "0"}}));
  const auto second = read(with(kOpenMpi, {{"PMIX_NAMESPACE", "prterun-a-17@1"}}));
  const auto other_job = read(with(kOpenMpi, {{"PMIX_NAMESPACE", "prterun-a-18@1"}}));
  EXPECT_EQ(first->master_port, second->master_port);
  EXPECT_NE(first->master_port, other_job->master_port);
  EXPECT_GE(first->master_port, 15000);
  EXPECT_LT(first->master_port, 25000);
}

TEST(Environment, PmiGivesRanksOfSeveralHosts) {
  const auto facts = read(kPmi);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->launcher, "pmi");
  EXPECT_EQ(facts->rank, 1);
  EXPECT_EQ(facts->world, 4);
  EXPECT_EQ(facts->local_world, 2);
}

TEST(Environment, OurSupervisorComesBeforeEverythingElse) {
  const auto facts =
      read(with(with(kTorchrun, kSlurm),
                {{"RANK", "0"}, {"LOCAL_RANK", "0"}, {"ESPALIER_RUN_ID", "17-42"}, {"ESPALIER_LISTEN_FD", "9"}}),
           true);
  EXPECT_EQ(facts->launcher, "supervisor");
  EXPECT_EQ(facts->listen_fd, 9);
  EXPECT_EQ(facts->store_prefix, "17-42");
  EXPECT_FALSE(facts->store_is_served);
}

struct Contradiction {
  std::string name;
  Variables variables;
  std::string named;  // must stand in the message
};

class Contradictions : public testing::TestWithParam<Contradiction> {};

TEST_P(Contradictions, AreRefusedNamingTheVariable) {
  const std::string message = refusal(GetParam().variables);
  EXPECT_NE(message.find(GetParam().named), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Environment, Contradictions,
    testing::Values(
        Contradiction{"RankWithoutWorld", {{"RANK", "0"}}, "WORLD_SIZE is not set"},
        Contradiction{"WorldWithoutRank", {{"WORLD_SIZE", "2"}}, "RANK is not set"},
        Contradiction{"RankOutsideTheWorld", with(kTorchrun, {{"RANK", "4"}}), "RANK=4"},
        Contradiction{"NegativeRank", with(kTorchrun, {{"RANK", "-1"}}), "RANK=-1"},
        Contradiction{"RankIsAWord", with(kTorchrun, {{"RANK", "two"}}), "RANK=two"},
        Contradiction{"RankWithATail", with(kTorchrun, {{"RANK", "2x"}}), "RANK=2x"},
        Contradiction{"WorldOfNone", with(kTorchrun, {{"WORLD_SIZE", "0"}}), "WORLD_SIZE=0"},
        Contradiction{"WorldTooLargeForANumber", with(kTorchrun, {{"WORLD_SIZE", "99999999999"}}), "WORLD_SIZE="},
        Contradiction{"LocalRankOutside", with(kTorchrun, {{"LOCAL_RANK", "2"}}), "LOCAL_RANK=2"},
        Contradiction{"LocalWorldAboveTheWorld", with(kTorchrun, {{"LOCAL_WORLD_SIZE", "5"}}), "LOCAL_WORLD_SIZE=5"},
        Contradiction{"NoAddress", without(kTorchrun, "MASTER_ADDR"), "MASTER_ADDR is not set"},
        Contradiction{"NoPort", without(kTorchrun, "MASTER_PORT"), "MASTER_PORT is not set"},
        Contradiction{"PortTooHigh", with(kTorchrun, {{"MASTER_PORT", "65536"}}), "MASTER_PORT=65536"},
        Contradiction{"SlurmWithoutNodes", without(kSlurm, "SLURM_STEP_NODELIST"), "SLURM_STEP_NODELIST"},
        Contradiction{"SlurmWithoutJob", without(kSlurm, "SLURM_JOB_ID"), "SLURM_JOB_ID"},
        Contradiction{"SlurmRankOutside", with(kSlurm, {{"SLURM_PROCID", "6"}}), "SLURM_PROCID=6"},
        Contradiction{"SlurmWithoutLocalRank", without(kSlurm, "SLURM_LOCALID"), "SLURM_LOCALID is not set"},
        Contradiction{"OpenMpiWithoutPort", kOpenMpi, "MASTER_PORT is not set"},
        Contradiction{"OpenMpiOnSeveralHostsWithoutAddress",
                      with(kOpenMpi, {{"OMPI_COMM_WORLD_SIZE", "4"}, {"MASTER_PORT", "4000"}}),
                      "MASTER_ADDR is not set"},
        Contradiction{"PmiWithoutSize", without(kPmi, "PMI_SIZE"), "PMI_SIZE is not set"}),
    [](const auto& info) { return info.param.name; });

TEST(Slurm, TheFirstHostOfANodeListIsFound) {
  const auto first = [](const std::string& list) { return first_host(list, "SLURM_NODELIST"); };
  EXPECT_EQ(first("n[5-9,12]"), "n5");
  EXPECT_EQ(first("n[12,5-9]"), "n12");
  EXPECT_EQ(first("node-a"), "node-a");
  EXPECT_EQ(first("a,b[1-2]"), "a");
  EXPECT_EQ(first("n[007-010].cluster,m1"), "n007.cluster");
  EXPECT_EQ(first("rack[0-1]n[02-07]"), "rack0n02");
}

TEST(Slurm, DamagedNodeListsAreRefused) {
  for (const char* list : {"", ",", "n[", "n[]", "n[5-9"}) EXPECT_THROW(first_host(list, "X"), Error) << list;
}

TEST(Slurm, TasksOfANodeAreReadOutOfTheCompactList) {
  const auto tasks = [](int node) { return tasks_on_node("2(x3),1", node, "SLURM_TASKS_PER_NODE"); };
  EXPECT_EQ(tasks(0), 2);
  EXPECT_EQ(tasks(2), 2);
  EXPECT_EQ(tasks(3), 1);
  EXPECT_THROW(tasks(4), Error);
  for (const char* list : {"", "x", "2(x", "2(x0)", "2(x3", "-1"})
    EXPECT_THROW(tasks_on_node(list, 0, "X"), Error) << list;
}

}  // namespace
}  // namespace esp
