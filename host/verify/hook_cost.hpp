// What hooks cost the host's thread.
#pragma once

#include "config/option_set.hpp"
#include "modules/module.hpp"
#include "verify/finding.hpp"

namespace esp::verify {

// Nanoseconds a hook, all checks on the way and a clock included: the median over steps of a small training.
double hook_cost_ns(const ModuleComponent& component, const OptionSet& options, Findings& findings);

// Notes the figure; COST-01 where it is beyond all reason. Throws Skip where the component refuses its options.
void check_hook_cost(const ModuleComponent& component, const OptionSet& options, Findings& findings);

}  // namespace esp::verify
