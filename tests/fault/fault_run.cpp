#include "fault_run.hpp"

#include <algorithm>
#include <cstdlib>

namespace esp::test {
namespace {

// The rank in a process's environment, as every launcher and the supervisor write it; -1 where there is none.
int rank_in_environment(pid_t pid) {
  const std::string environment = '\0' + read_file("/proc/" + std::to_string(pid) + "/environ");
  for (const char* name : {"ESPALIER_RANK=", "RANK="}) {
    const size_t at = environment.find(std::string(1, '\0') + name);
    if (at != std::string::npos) return std::atoi(environment.c_str() + at + 1 + std::string(name).size());
  }
  return -1;
}

}  // namespace

std::vector<std::string> long_run(const Scratch& scratch, int nproc, const std::vector<std::string>& more) {
  const std::string data = std::string(ESPALIER_TESTS) + "/parity/data/";
  std::vector<std::string> arguments = {"run",
                                        "--plugin=libddp.so",
                                        "--device=cpu",
                                        "--threads=1",
                                        "--nproc=" + std::to_string(nproc),
                                        "--timeout=20",
                                        "--out=" + (scratch / "out"),
                                        "--model.weights=" + data + "small",
                                        "--data.path=" + data + "images",
                                        "--train.max_steps=100000",
                                        "--train.epochs=100000",
                                        "--train.eval_every=0",
                                        "--train.global_batch_size=4"};
  for (const std::string& flag : more) {
    const std::string key = flag.substr(0, flag.find('=') + 1);
    std::erase_if(arguments, [&](const std::string& a) { return key.size() > 1 && a.starts_with(key); });
    arguments.push_back(flag);
  }
  return arguments;
}

bool has_trained(const Scratch& scratch, size_t steps) {
  const std::string metrics = read_file(scratch.path() / "out/metrics.jsonl");
  return static_cast<size_t>(std::count(metrics.begin(), metrics.end(), '\n')) >= steps;
}

std::vector<pid_t> ranks_of(const HostProcess& host, int count) {
  std::vector<pid_t> ranks(static_cast<size_t>(count), 0);
  for (const pid_t pid : host.descendants()) {
    const int rank = rank_in_environment(pid);
    if (rank >= 0 && rank < count) ranks[static_cast<size_t>(rank)] = pid;
  }
  return std::count(ranks.begin(), ranks.end(), 0) == 0 ? ranks : std::vector<pid_t>{};
}

}  // namespace esp::test
