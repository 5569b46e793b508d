// What every command does in a rank: hand the runtime its job, and tell whoever started the ranks when it fails.
#pragma once

#include <functional>

#include "cli/run_setup.hpp"
#include "runtime/api.hpp"

namespace esp::cli {

// `setup` must outlive the job. Installs the handlers for stop signals and crashes.
runtime::Job make_job(runtime::Task task, const RunSetup& setup, const runtime::RankFacts& ranks);

// Runs `body`; returns the exit code. Under our supervisor an error is reported to it and said by it, once; elsewhere
// it is also thrown on.
int as_rank(const runtime::RankFacts& ranks, const std::function<void()>& body);

// Whether the libraries were probed by the supervisor already.
Probe probe_of(const runtime::RankFacts& ranks);

}  // namespace esp::cli
