// Pages that open without a network: no scripts, no files beside them. Well-formed XML, too.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace esp {

// Text for any place in a page. Bytes that are no UTF-8, or that no page may hold, are replaced.
std::string html_text(std::string_view text);

// `body` is markup.
std::string html_page(const std::string& title, const std::string& body);
std::string html_list(const std::vector<std::string>& items);  // plain text
// Plain text; the first column to the left, the others to the right.
std::string html_table(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows);

}  // namespace esp
