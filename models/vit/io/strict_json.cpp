#include "strict_json.hpp"

#include <espalier/failure.hpp>
#include <set>
#include <vector>

#include "files.hpp"

namespace esp::vit {
namespace {

constexpr uint64_t kFileBytes = uint64_t{4} << 20;
constexpr int kDepth = 32;

}  // namespace

std::string parse_error_text(const nlohmann::detail::exception& error) {
  const std::string text = error.what();
  const size_t id_end = text.find("] ");  // "[json.exception.parse_error.101] ..."
  return shown(id_end == std::string::npos ? text : text.substr(id_end + 2));
}

nlohmann::json parse_object(std::string_view text, const std::string& origin) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Event event, nlohmann::json& parsed) {
    if (depth > kDepth) fail(ESP_E_DATA, shown(origin), ": is nested more than ", kDepth, " levels deep");
    if (event == Event::object_start) {
      keys.emplace_back();
    } else if (event == Event::object_end) {
      keys.pop_back();
    } else if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      fail(ESP_E_DATA, shown(origin), ": has the key \"", shown(parsed.get<std::string>()), "\" twice");
    }
    return true;
  };
  try {
    nlohmann::json value = nlohmann::json::parse(text.begin(), text.end(), watch);
    if (!value.is_object()) fail(ESP_E_DATA, shown(origin), ": is not a JSON object");
    return value;
  } catch (const nlohmann::detail::exception& error) {
    fail(ESP_E_DATA, shown(origin), ": is not valid JSON: ", parse_error_text(error));
  }
}

nlohmann::json read_object(const std::string& path) { return parse_object(read_small_file(path, kFileBytes), path); }

}  // namespace esp::vit
