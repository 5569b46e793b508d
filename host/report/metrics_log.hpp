// The lines of metrics.jsonl.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/api.hpp"

namespace esp {

double samples_per_second(const runtime::StepReport& report);  // 0 when no time has passed

// Each is one JSON object and a line feed; numbers that are not finite are null.
std::string step_line(const runtime::StepReport& report);
std::string evaluation_line(const runtime::Evaluation& evaluation, int64_t step, double epoch);

}  // namespace esp
