// JSON as the host writes it.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/api.hpp"

namespace esp {

// Text that is not UTF-8 (file names may be anything) is repaired, numbers that are not finite become null.
inline std::string json_text(const nlohmann::ordered_json& json, int indent = -1) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// NaN, and so null, for no samples.
inline double accuracy(const runtime::Evaluation& evaluation) {
  if (evaluation.samples == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(evaluation.correct) / static_cast<double>(evaluation.samples);
}

}  // namespace esp
