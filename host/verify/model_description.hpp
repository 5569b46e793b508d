// Whether what a model tells about itself fits together.
#pragma once

#include <espalier/model.h>

#include "verify/finding.hpp"

namespace esp::verify {

// MODEL-01.
void check_description(const esp_model_desc& desc, Findings& findings);

}  // namespace esp::verify
