// Tables on the console: Unicode lines where the locale is UTF-8, else ASCII.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

namespace esp {

// Columns on a terminal that a UTF-8 text takes (every character counted as one).
size_t text_width(const std::string& text);

// True when LC_ALL, LC_CTYPE or LANG asks for UTF-8.
bool locale_is_utf8();

// Rows that are printed as they come: so widths are decided before the first.
class ColumnTable {
 public:
  struct Column {
    std::string title;
    size_t width = 0;   // at least the title's
    bool right = true;  // numbers
  };
  explicit ColumnTable(std::vector<Column> columns);

  std::string header() const;  // lines end with a line feed
  std::string row(const std::vector<std::string>& cells) const;

 private:
  std::vector<Column> columns_;
};

// Two columns: a name and what it is.
class KeyValueTable {
 public:
  void add(std::string name, std::string value) { rows_.push_back({std::move(name), std::move(value)}); }
  void print(std::ostream& out) const;

 private:
  struct Row {
    std::string name, value;
  };
  std::vector<Row> rows_;
};

}  // namespace esp
