#include <algorithm>

#include "config/option_value.hpp"
#include "config/resolve.hpp"

namespace esp {

std::string to_toml(std::span<const ResolvedTable> tables) {
  std::string text;
  std::vector<std::string> written;
  for (const ResolvedTable& first : tables) {
    if (std::find(written.begin(), written.end(), first.name) != written.end()) continue;
    written.push_back(first.name);
    text += (text.empty() ? "[" : "\n[") + first.name + "]\n";
    // A table's keys may come from several owners: the host's first, then a plugin's.
    for (const ResolvedTable& table : tables) {
      if (table.name != first.name) continue;
      for (size_t i = 0; i < table.options.size(); ++i) {
        const std::string value = value_text(table.values[i]);
        text += value.empty() ? "# " + std::string(table.options[i]->key) + " is not set\n"
                              : std::string(table.options[i]->key) + " = " + value + "\n";
      }
    }
  }
  return text;
}

}  // namespace esp
