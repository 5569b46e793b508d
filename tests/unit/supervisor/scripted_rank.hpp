// What this test's executable does when a supervisor starts it as a rank: one action per rank, given as arguments.
#pragma once

namespace esp::test {

// arguments[1 + rank] is the action of that rank; see scripted_rank.cpp. Returns the exit code.
int run_scripted_rank(int count, char** arguments);

}  // namespace esp::test
