#include "bench/machine.hpp"

#include <sched.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "report/number_text.hpp"

namespace esp::bench {
namespace {

namespace fs = std::filesystem;

// The rest of the first line that begins with `key`, or empty.
std::string line_after(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t value = line.find_first_not_of(" \t:=", key.size());
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

std::string first_line(const fs::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

std::string cores_text() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::to_string(cores);
}

std::string memory_text() {
  const std::string total = line_after("/proc/meminfo", "MemTotal");
  return total.empty() ? "" : rounded_bytes_text(std::strtoull(total.c_str(), nullptr, 10) * 1024);
}

std::string system_text() {
  std::string name = line_after("/etc/os-release", "PRETTY_NAME");
  std::erase(name, '"');
  utsname kernel{};
  if (uname(&kernel) == 0) name += (name.empty() ? "" : ", ") + std::string(kernel.sysname) + " " + kernel.release;
  return name;
}

// Of .git/HEAD of the working folder or one above it, packed references included.
std::string commit() {
  std::error_code ignored;
  fs::path folder = fs::current_path(ignored);
  while (!fs::exists(folder / ".git" / "HEAD", ignored)) {
    if (folder == folder.root_path()) return "";
    folder = folder.parent_path();
  }
  const std::string head = first_line(folder / ".git" / "HEAD");
  constexpr std::string_view kReference = "ref: ";
  if (!head.starts_with(kReference)) return head.substr(0, 40);
  const std::string name = head.substr(kReference.size());
  if (const std::string loose = first_line(folder / ".git" / name); !loose.empty()) return loose.substr(0, 40);
  std::ifstream packed(folder / ".git" / "packed-refs");
  for (std::string line; std::getline(packed, line);) {
    if (line.ends_with(" " + name)) return line.substr(0, 40);
  }
  return "";
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc);
  return text;
}

}  // namespace

Facts machine_facts() {
  const std::string load = first_line("/proc/loadavg");
  Facts all{
      {"cpu", line_after("/proc/cpuinfo", "model name")},
      {"cores of this process", cores_text()},
      {"memory", memory_text()},
      {"system", system_text()},
      {"load before the sweep (1, 5, 15 min)", load.substr(0, load.find(' ', load.find(' ', load.find(' ') + 1) + 1))},
      {"date", now_text()},
      {"commit of the working folder", commit()}};
  std::erase_if(all, [](const auto& fact) { return fact.second.empty(); });
  return all;
}

}  // namespace esp::bench
