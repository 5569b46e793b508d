#include "report/html.hpp"

#include "config/value_text.hpp"

namespace esp {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1d2a1f; --soft: #5c6b5f; --line: #c9d2ca; --paper: #fdfdfb; --leaf: #2f7d4f; --bean: #b4552d; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4ebe5; --soft: #9aa89d; --line: #3b463e; --paper: #161b18; --leaf: #63b884; --bean: #e0906a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { font-weight: 600; line-height: 1.2; }
h2 { margin-top: 2.2rem; font-size: 1.15rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
th { color: var(--soft); font-weight: 600; }
svg { display: block; margin: .8rem 0; max-width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 12px; }
svg .soft { fill: var(--soft); }
svg .axis { stroke: var(--line); }
svg .mark { fill: var(--leaf); }
svg .curve { fill: none; stroke: var(--leaf); stroke-width: 1.5; }
svg .spread { stroke: var(--bean); stroke-width: 2; }
)";

}  // namespace

std::string html_text(std::string_view text) {
  const bool sound = is_utf8(text);
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f || (byte >= 0x80 && !sound)) {
      escaped += '?';
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string html_page(const std::string& title, const std::string& body) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width\"/>\n<title>" +
         html_text(title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" + html_text(title) +
         "</h1>\n" + body + "</body>\n</html>\n";
}

std::string html_list(const std::vector<std::string>& items) {
  std::string list = "<ul>\n";
  for (const std::string& item : items) list += "<li>" + html_text(item) + "</li>\n";
  return list + "</ul>\n";
}

std::string html_table(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows) {
  std::string table = "<div class=\"wide\"><table>\n";
  if (!titles.empty()) {
    table += "<tr>";
    for (const std::string& title : titles) table += "<th>" + html_text(title) + "</th>";
    table += "</tr>\n";
  }
  for (const auto& row : rows) {
    table += "<tr>";
    for (const std::string& cell : row) table += "<td>" + html_text(cell) + "</td>";
    table += "</tr>\n";
  }
  return table + "</table></div>\n";
}

}  // namespace esp
