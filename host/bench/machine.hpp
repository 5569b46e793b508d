// Where numbers were measured: printed with every table.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace esp::bench {

using Facts = std::vector<std::pair<std::string, std::string>>;  // name and value

// CPU, cores, memory, system, load, date, and the commit of the working folder when that is a git checkout.
Facts machine_facts();

}  // namespace esp::bench
