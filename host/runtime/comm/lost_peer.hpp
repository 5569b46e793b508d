// What a failed collective is called.
#pragma once

#include <span>
#include <string>

#include "error.hpp"

namespace esp::runtime {

// rank: within the group; members: its ranks in the world; what: "all_reduce #3 of 8 F32 elements"; text: Gloo's.
Error lost_peer(int32_t rank, std::span<const int32_t> members, const std::string& what, const std::string& text);

}  // namespace esp::runtime
