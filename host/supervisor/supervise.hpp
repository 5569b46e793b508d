// supervise() with its times as parameters.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace esp {

struct SuperviseTimes {
  std::chrono::milliseconds cause{3000};  // from a first peer-lost error to taking it for the cause
  std::chrono::milliseconds fail{5000};   // from SIGTERM to SIGKILL after a rank failed
  std::chrono::milliseconds stop{30000};  // the same after SIGINT or SIGTERM: the step in hand is finished and saved
};

int supervise(int count, const std::vector<std::string>& arguments, const SuperviseTimes& times);

}  // namespace esp
