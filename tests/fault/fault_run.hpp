// Runs that are disturbed while they train.
#pragma once

#include <string>
#include <vector>

#include "support/host_process.hpp"

namespace esp::test {

// Arguments of a run on the stored weights and images that trains until it is stopped, or as `more` says.
std::vector<std::string> long_run(const Scratch& scratch, int nproc, const std::vector<std::string>& more = {});

// Whether the run in scratch/out has done at least that many steps.
bool has_trained(const Scratch& scratch, size_t steps);

// The processes of the run that are ranks, by rank. Empty until all `count` are there.
std::vector<pid_t> ranks_of(const HostProcess& host, int count);

}  // namespace esp::test
