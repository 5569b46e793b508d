// Whether two gradients are the same, parameter by parameter.
#pragma once

#include <string>

#include "verify/model_world.hpp"

namespace esp::verify {

// `factor` times `expected` is expected. room: of the parameter's largest element; 0: bit for bit. What one side has
// and the other has not is no difference. The text of the first difference; empty: none.
std::string first_difference(const esp_model_desc& desc, const Gradients& got, const Gradients& expected, double room,
                             double factor = 1);

// Of all elements taken as one vector.
double cosine(const Gradients& a, const Gradients& b);

Gradients sum(const Gradients& a, const Gradients& b);

}  // namespace esp::verify
