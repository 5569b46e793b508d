// Starting the local ranks of one run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "supervisor/rank_process.hpp"

namespace esp {

// Starts ranks 0 to count - 1 of this executable, each with the environment that rank_link.hpp describes. They inherit
// report_fd, phase_fd (-1: none) and rank 0 a socket that listens for the store; the caller may close its own
// afterwards. Throws Error(kResource); those that were started are gone then.
std::vector<std::unique_ptr<RankProcess>> start_ranks(int count, const std::vector<std::string>& arguments,
                                                      int report_fd, int phase_fd);

}  // namespace esp
