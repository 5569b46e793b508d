// Telling a launcher why a rank ends.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "supervisor/rank_link.hpp"
#include "supervisor/ranks.hpp"

namespace esp {
namespace {

bool report_to_supervisor(int rank, int exit_code, const std::string& message) {
  const int fd = number_from_environment(kReportFdVariable);
  if (fd < 0 || !is_supervised()) return false;
  RankReport report;
  report.rank = rank;
  report.exit_code = exit_code;
  const std::string line = one_line(message);
  std::memcpy(report.message, line.data(), std::min(line.size(), sizeof report.message - 1));
  return send_report(fd, report);
}

// The file that torchrun reads for its root-cause table. It never fails a run: the agent then says less, that is all.
void write_torchelastic_file(const char* path, const std::string& message) {
  const nlohmann::json text = {
      {"message",
       {{"message", "Error: " + one_line(message)},
        {"extraInfo", {{"py_callstack", one_line(message)}, {"timestamp", std::to_string(std::time(nullptr))}}}}}};
  std::ofstream file(path, std::ios::trunc);
  file << text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

}  // namespace

bool report_rank_error(const runtime::RankFacts& ranks, int exit_code, const std::string& message) {
  if (ranks.launcher == "supervisor") return report_to_supervisor(ranks.rank, exit_code, message);
  const char* path = std::getenv("TORCHELASTIC_ERROR_FILE");
  if (ranks.launcher == "torchrun" && path && *path) write_torchelastic_file(path, message);
  return false;
}

}  // namespace esp
