#include "supervisor/slurm.hpp"

#include <charconv>
#include <string_view>

#include "error.hpp"

namespace esp {
namespace {

[[noreturn]] void refuse(const std::string& variable, const std::string& value, const std::string& why) {
  throw Error(ExitCode::kUsage, variable + "=" + value + " " + why);
}

// A positive number at the front of `text`, which is cut; -1 when there is none.
int take_number(std::string_view& text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return -1;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::string first_host(const std::string& node_list, const std::string& variable) {
  std::string host;
  for (size_t i = 0; i < node_list.size() && node_list[i] != ','; ++i) {
    if (node_list[i] != '[') {
      host += node_list[i];
      continue;
    }
    const size_t close = node_list.find(']', i);
    const size_t first = node_list.find_first_of(",-]", i + 1);
    if (close == std::string::npos || first == i + 1) refuse(variable, node_list, "is not a list of nodes");
    host += node_list.substr(i + 1, first - i - 1);  // digits as written: leading zeros belong to the name
    i = close;
  }
  if (host.empty()) refuse(variable, node_list, "names no node");
  return host;
}

int tasks_on_node(const std::string& tasks_per_node, int index, const std::string& variable) {
  std::string_view rest = tasks_per_node;
  do {
    const int tasks = take_number(rest);
    int nodes = 1;
    if (take(rest, "(x")) {
      nodes = take_number(rest);
      if (!take(rest, ")")) nodes = -1;
    }
    if (tasks < 1 || nodes < 1) refuse(variable, tasks_per_node, "is not a list of task counts");
    if (index < nodes) return tasks;
    index -= nodes;
  } while (take(rest, ","));
  refuse(variable, tasks_per_node, "has no entry for this node");
}

}  // namespace esp
