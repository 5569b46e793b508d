// Ranks: finding out which one this process is, and starting local ones.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/api.hpp"

namespace esp {

// From the environment, in this order: our own supervisor, torchrun (with the agent's store), a Slurm step, Open MPI,
// PMI. Empty when no launcher started this process, and when Slurm, Open MPI or PMI started only this one (then --nproc
// may still start ranks). Throws Error(kUsage) naming the variable when what it finds contradicts itself (RANK without
// WORLD_SIZE, a rank outside the world, no MASTER_ADDR where one is needed).
std::optional<runtime::RankFacts> ranks_from_environment();

// Starts `count` copies of this executable with `arguments` (without argv[0]), one per local rank, and waits for them.
// They inherit the environment, stdout and stderr; stdin is /dev/null. The first error a rank reports becomes the
// result; when one rank fails the others are given a few seconds (SIGTERM), then SIGKILL. A peer-lost error waits
// shortly for the error behind it. SIGINT, SIGTERM and SIGHUP to this process stop all ranks in an orderly way, a
// second one at once. Ranks die with this process. Returns the exit code of the run; what a rank reported is printed
// once, as "host: ..." on stderr. Throws Error (kUsage, kResource) when ranks cannot be started; none is left then.
// [main thread; no other child process may end meanwhile that somebody else waits for by SIGCHLD]
int supervise(int count, const std::vector<std::string>& arguments);

// In a rank: tells the supervisor (or torchrun's error file) why this rank ends. Does nothing without one. True when
// the supervisor will print the message, so that the rank must not. Call it before exiting, for kInterrupted too.
bool report_rank_error(const runtime::RankFacts& ranks, int exit_code, const std::string& message);

}  // namespace esp
