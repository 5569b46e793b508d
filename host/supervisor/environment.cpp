#include "supervisor/environment.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>

#include <charconv>
#include <cstdlib>
#include <limits>

#include "supervisor/rank_link.hpp"
#include "supervisor/ranks.hpp"
#include "supervisor/slurm.hpp"

namespace esp {
namespace {

using runtime::RankFacts;

[[noreturn]] void refuse(const std::string& message) { throw Error(ExitCode::kUsage, message); }

class Environment {
 public:
  explicit Environment(const Lookup& lookup) : lookup_(lookup) {}

  std::optional<std::string> text(const char* variable) const {
    auto value = lookup_(variable);
    return value && !value->empty() ? value : std::nullopt;
  }
  bool has(const char* variable) const { return text(variable).has_value(); }

  std::optional<int> number(const char* variable, int low, int high = std::numeric_limits<int>::max()) const {
    const auto value = text(variable);
    if (!value) return std::nullopt;
    int number = 0;
    const char* last = value->data() + value->size();
    const auto [end, error] = std::from_chars(value->data(), last, number);
    if (error != std::errc() || end != last || number < low || number > high) {
      refuse("environment: " + std::string(variable) + "=" + one_line(*value) + " is not a number of at least " +
             std::to_string(low) +
             (high == std::numeric_limits<int>::max() ? "" : " and at most " + std::to_string(high)));
    }
    return number;
  }
  int required(const char* variable, int low, const std::string& because) const {
    const auto value = number(variable, low);
    if (!value) refuse("environment: " + because + ", but " + variable + " is not set");
    return *value;
  }
  std::optional<int> master_port() const { return number("MASTER_PORT", 1, 65535); }

 private:
  const Lookup& lookup_;
};

struct RankNames {
  const char *rank, *world, *local_rank, *local_world;
};

void check(const RankFacts& facts, const RankNames& names) {
  const auto within = [](int rank, int world, const char* rank_name, const char* world_name) {
    if (rank < world) return;
    refuse("environment: " + std::string(rank_name) + "=" + std::to_string(rank) + " does not lie below " + world_name +
           "=" + std::to_string(world));
  };
  within(facts.rank, facts.world, names.rank, names.world);
  within(facts.local_rank, facts.local_world, names.local_rank, names.local_world);
  within(facts.local_world, facts.world + 1, names.local_world, names.world);
}

void need_address(const Environment& environment, RankFacts& facts, const std::string& launcher) {
  const auto address = environment.text("MASTER_ADDR");
  if (!address)
    refuse("environment: " + launcher + " started this process, but MASTER_ADDR is not set; give it rank 0's host");
  facts.master_addr = *address;
}

void need_port(const Environment& environment, RankFacts& facts, const std::string& launcher) {
  const auto port = environment.master_port();
  if (!port)
    refuse("environment: " + launcher +
           " started this process, but MASTER_PORT is not set; give it a free port of rank 0's host");
  facts.master_port = *port;
}

RankFacts supervised_facts(const Environment& environment) {
  const std::string because = "this is a rank that `host` started";
  RankFacts facts;
  facts.launcher = "supervisor";
  facts.rank = environment.required("RANK", 0, because);
  facts.world = environment.required("WORLD_SIZE", 1, because);
  facts.local_rank = environment.required("LOCAL_RANK", 0, because);
  facts.local_world = environment.required("LOCAL_WORLD_SIZE", 1, because);
  need_address(environment, facts, "host");
  need_port(environment, facts, "host");
  facts.listen_fd = environment.number(kListenFdVariable, -1).value_or(-1);
  facts.store_prefix = environment.text(kRunIdVariable).value_or("");
  check(facts, {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"});
  return facts;
}

// LOCAL_RANK and LOCAL_WORLD_SIZE may be missing when ranks are started by hand: then they are all on this machine when
// they meet on its loopback, else one on each.
void read_local_ranks(const Environment& environment, RankFacts& facts) {
  const std::string address = environment.text("MASTER_ADDR").value_or("localhost");
  const bool here = address == "localhost" || address.starts_with("127.") || address == "::1";
  facts.local_rank = environment.number("LOCAL_RANK", 0).value_or(here ? facts.rank : 0);
  facts.local_world = environment.number("LOCAL_WORLD_SIZE", 1).value_or(here ? facts.world : facts.local_rank + 1);
}

std::optional<RankFacts> torchrun_facts(const Environment& environment) {
  if (!environment.has("RANK") && !environment.has("WORLD_SIZE")) return std::nullopt;
  RankFacts facts;
  facts.launcher = "torchrun";
  facts.rank = environment.required("RANK", 0, "WORLD_SIZE is set");
  facts.world = environment.required("WORLD_SIZE", 1, "RANK is set");
  read_local_ranks(environment, facts);
  check(facts, {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"});

  // With the agent's store every rank is a client, and restarts are told apart by the attempt.
  facts.store_is_served = environment.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  if (facts.world > 1 || facts.store_is_served) {
    need_address(environment, facts, "torchrun");
    need_port(environment, facts, "torchrun");
  }
  const std::string attempt = std::to_string(environment.number("TORCHELASTIC_RESTART_COUNT", 0).value_or(0));
  facts.store_prefix = facts.store_is_served ? "/worker/attempt_" + attempt
                                             : environment.text("TORCHELASTIC_RUN_ID").value_or("") + "/" + attempt;
  return facts;
}

// A shell in an allocation, or the batch script itself, looks like task 0 but was not started by srun.
bool is_slurm_task(const Environment& environment) {
  if (!environment.has("SLURM_PROCID") || !environment.has("SLURM_NTASKS")) return false;
  const auto job = environment.text("SLURM_JOB_NAME");
  if (job == "bash" || job == "interactive") return false;
  const bool in_step =
      environment.has("SLURM_STEP_ID") || environment.has("SLURM_STEPID") || environment.has("SLURM_STEP_NODELIST");
  return in_step || environment.text("ENVIRONMENT") != "BATCH";
}

int slurm_local_world(const Environment& environment, int world) {
  for (const char* variable : {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"}) {
    const auto tasks = environment.text(variable);
    if (!tasks) continue;
    const bool one_for_all = tasks->find_first_of("(,") == std::string::npos;
    return tasks_on_node(*tasks, one_for_all ? 0 : environment.number("SLURM_NODEID", 0).value_or(0), variable);
  }
  const int nodes = environment.number("SLURM_NNODES", 1).value_or(1);
  return (world + nodes - 1) / nodes;
}

std::string slurm_address(const Environment& environment) {
  if (const auto given = environment.text("MASTER_ADDR")) return *given;
  for (const char* variable : {"SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"}) {
    if (const auto list = environment.text(variable)) return first_host(*list, variable);
  }
  refuse("environment: Slurm started this process, but neither SLURM_STEP_NODELIST nor MASTER_ADDR is set");
}

// Without MASTER_PORT: 15000 + the last four digits of the job's number, which all tasks know.
int slurm_port(const Environment& environment) {
  if (const auto given = environment.master_port()) return *given;
  const auto job = environment.number("SLURM_JOB_ID", 0);
  if (!job) refuse("environment: Slurm started this process, but neither SLURM_JOB_ID nor MASTER_PORT is set");
  return 15000 + *job % 10000;
}

std::optional<RankFacts> slurm_facts(const Environment& environment) {
  if (!is_slurm_task(environment)) return std::nullopt;
  RankFacts facts;
  facts.launcher = "slurm";
  facts.rank = environment.required("SLURM_PROCID", 0, "this is a Slurm task");
  facts.world = environment.required("SLURM_NTASKS", 1, "this is a Slurm task");
  if (facts.world == 1) return std::nullopt;
  facts.local_rank = environment.required("SLURM_LOCALID", 0, "this is a Slurm task");
  facts.local_world = slurm_local_world(environment, facts.world);
  check(facts, {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "the tasks of this node"});
  facts.master_addr = slurm_address(environment);
  facts.master_port = slurm_port(environment);
  facts.store_prefix = environment.text("SLURM_JOB_ID").value_or("") + "." +
                       environment.text("SLURM_STEP_ID").value_or(environment.text("SLURM_STEPID").value_or("0"));
  return facts;
}

// Ranks of one machine know their job's name, and out of it a port: different jobs rarely share it.
std::optional<int> port_of_job(const Environment& environment) {
  const auto job = environment.text("PMIX_NAMESPACE");
  if (!job) return std::nullopt;
  uint32_t hash = 2166136261u;
  for (const char c : *job) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return 15000 + static_cast<int>(hash % 10000);
}

std::optional<RankFacts> mpi_facts(const Environment& environment, const std::string& launcher, const std::string& tool,
                                   const RankNames& names) {
  if (!environment.has(names.rank)) return std::nullopt;
  RankFacts facts;
  facts.launcher = launcher;
  facts.rank = environment.required(names.rank, 0, "");
  facts.world = environment.required(names.world, 1, std::string(names.rank) + " is set");
  if (facts.world == 1) return std::nullopt;
  facts.local_rank = environment.required(names.local_rank, 0, std::string(names.rank) + " is set");
  facts.local_world = environment.required(names.local_world, 1, std::string(names.rank) + " is set");
  check(facts, names);
  const bool one_machine = facts.local_world == facts.world;
  if (environment.has("MASTER_ADDR") || !one_machine) need_address(environment, facts, tool);
  const auto port = one_machine && !environment.has("MASTER_PORT") ? port_of_job(environment) : std::nullopt;
  if (port) {
    facts.master_port = *port;
  } else {
    need_port(environment, facts, tool);
  }
  facts.store_prefix = environment.text("PMIX_NAMESPACE").value_or("");
  return facts;
}

std::optional<RankFacts> pmi_facts(const Environment& environment) {
  const bool cray = environment.has("PMI_LOCAL_RANK");
  const RankNames names{"PMI_RANK", "PMI_SIZE", cray ? "PMI_LOCAL_RANK" : "MPI_LOCALRANKID",
                        cray ? "PMI_LOCAL_SIZE" : "MPI_LOCALNRANKS"};
  return mpi_facts(environment, "pmi", "a PMI launcher", names);
}

std::optional<std::string> process_variable(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

// exec of /proc/self/exe names the process "exe"; tools shall find it by the program's name.
void restore_process_name() { prctl(PR_SET_NAME, program_invocation_short_name); }

// What a rank starts must not hold its sockets and pipes open.
void close_link_on_exec() {
  for (const char* variable : {kListenFdVariable, kReportFdVariable, kPhaseFdVariable}) {
    const int fd = number_from_environment(variable);
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
}

}  // namespace

std::optional<RankFacts> ranks_from(const Lookup& lookup, bool supervised) {
  const Environment environment(lookup);
  if (supervised) return supervised_facts(environment);
  if (auto facts = torchrun_facts(environment)) return facts;
  if (auto facts = slurm_facts(environment)) return facts;
  if (auto facts = mpi_facts(environment, "openmpi", "Open MPI",
                             {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                              "OMPI_COMM_WORLD_LOCAL_SIZE"})) {
    return facts;
  }
  return pmi_facts(environment);
}

std::optional<RankFacts> ranks_from_environment() {
  const bool supervised = is_supervised();
  if (supervised) {
    restore_process_name();
    close_link_on_exec();
  }
  return ranks_from(process_variable, supervised);
}

}  // namespace esp
