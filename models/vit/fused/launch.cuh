// Choosing a kernel's instance at run time.
#pragma once

#include <espalier/failure.hpp>

#include "element.cuh"
#include "kernels.hpp"

namespace esp::vit::fused {

// Calls body with a value of the element type that `half` names.
template <class Body>
void with_element(Half half, Body&& body) {
  if (half == Half::kBf16) {
    body(__nv_bfloat16());
  } else {
    body(__half());
  }
}

inline int blocks_for(int64_t items, int per_block) { return static_cast<int>((items + per_block - 1) / per_block); }

inline void check_launch(const char* what) { check(cudaGetLastError(), what); }

}  // namespace esp::vit::fused
