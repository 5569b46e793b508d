// Work that may crash, done in a process of its own.
#pragma once

#include <functional>
#include <string>

namespace esp::cli {

// Forks, so this process should have one thread only. Gives back the text that `body` returned in the child, or throws
// the Error that it threw there. A child that crashed, ended by itself or took longer than `limit_s` is an
// Error(kPlugin) that says what it printed last, with `hint` behind it. What a child that succeeds prints on stderr
// appears on ours.
std::string in_child(const std::function<std::string()>& body, unsigned limit_s, const std::string& hint);

}  // namespace esp::cli
