// A file in memory through which a child process answers. Not a pipe: it takes what the child writes whether or not
// anybody reads.
#pragma once

#include <string>

#include "supervisor/unique_fd.hpp"

namespace esp {

UniqueFd make_shared_file();                      // throws Error(kResource)
void write_all(int fd, const std::string& text);  // as much as can be written
std::string read_whole(int fd);                   // from the beginning

}  // namespace esp
