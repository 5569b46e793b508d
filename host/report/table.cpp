#include "report/table.hpp"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace esp {
namespace {

struct Lines {
  const char *horizontal, *vertical, *cross;
};

Lines lines() { return locale_is_utf8() ? Lines{"─", "│", "┼"} : Lines{"-", "|", "+"}; }

std::string repeat(const char* text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string pad(const std::string& text, size_t width, bool right) {
  const size_t taken = text_width(text);
  const std::string space(width > taken ? width - taken : 0, ' ');
  return right ? space + text : text + space;
}

}  // namespace

size_t text_width(const std::string& text) {
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; };
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

bool locale_is_utf8() {
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(variable);
    if (!value || !*value) continue;
    const std::string_view locale(value);
    return locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos;
  }
  return false;
}

ColumnTable::ColumnTable(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (Column& column : columns_) column.width = std::max(column.width, text_width(column.title));
}

std::string ColumnTable::row(const std::vector<std::string>& cells) const {
  std::string line;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (i > 0) line += std::string(" ") + lines().vertical + " ";
    line += pad(i < cells.size() ? cells[i] : "", columns_[i].width, columns_[i].right);
  }
  return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

std::string ColumnTable::header() const {
  std::vector<std::string> titles;
  std::string rule;
  for (const Column& column : columns_) {
    if (!titles.empty()) rule += std::string(lines().horizontal) + lines().cross + lines().horizontal;
    rule += repeat(lines().horizontal, column.width);
    titles.push_back(column.title);
  }
  return row(titles) + rule + "\n";
}

void KeyValueTable::print(std::ostream& out) const {
  size_t names = 0, values = 0;
  for (const Row& row : rows_) {
    names = std::max(names, text_width(row.name));
    values = std::max(values, text_width(row.value));
  }
  const std::string rule = repeat(lines().horizontal, names + values + 3) + "\n";
  out << rule;
  for (const Row& row : rows_)
    out << pad(row.name, names, false) << " " << lines().vertical << " " << row.value << "\n";
  out << rule;
}

}  // namespace esp
