// Slurm's two compact notations.
#pragma once

#include <string>

namespace esp {

// The first host of a node list: "n[5-9,12],m3" -> "n5", "rack[0-1]n[02-07]" -> "rack0n02". Throws Error(kUsage) naming
// `variable` when the brackets do not close or the list is empty.
std::string first_host(const std::string& node_list, const std::string& variable);

// Tasks on node `index` of "2(x3),1": 2, 2, 2, 1. Throws Error(kUsage) naming `variable` when it is malformed or too
// short.
int tasks_on_node(const std::string& tasks_per_node, int index, const std::string& variable);

}  // namespace esp
