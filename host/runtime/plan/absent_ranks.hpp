// A world of which only one rank is there: it knows its place and the size, and what it sends goes nowhere.
#pragma once

#include "runtime/comm/rendezvous.hpp"

namespace esp::runtime {

World without_peers(int32_t rank, int32_t size);

}  // namespace esp::runtime
