// Ranks: finding out which one this process is, and starting local ones.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/api.hpp"

namespace esp {

// From the environment, in this order: our own supervisor, torchrun (with the agent's store), a Slurm step, Open MPI, PMI.
// Empty when no launcher started this process. Throws Error(kUsage) naming the variable when what it finds contradicts
// itself (RANK without WORLD_SIZE, a rank outside the world, no MASTER_ADDR where one is needed).
std::optional<runtime::RankFacts> ranks_from_environment();

// Starts `count` copies of this executable with `arguments`, one per local rank, and waits for them. The first error a rank
// reports becomes the result; when one rank ends the others are given a few seconds (SIGTERM), then SIGKILL. SIGINT and
// SIGTERM to this process end all ranks. Ranks die with this process. Returns the exit code of the run; what a rank reported is printed once,
// as "host: ..." on stderr.
int supervise(int count, const std::vector<std::string>& arguments);

// In a rank: tells the supervisor (or torchrun's error file) why this rank ends. Does nothing without one.
void report_rank_error(const runtime::RankFacts& ranks, int exit_code, const std::string& message);

}  // namespace esp
