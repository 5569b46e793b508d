// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace esp {

std::string fixed(double value, int decimals);          // "0.6931", "nan"
std::string scientific(double value);                   // "5.00e-05"
std::string rounded_bytes_text(uint64_t bytes);         // "5.5 MiB"; below 1 KiB "12 B"
std::string clock_text(double seconds);                 // "0:07", "1:02:03"
std::string share_text(uint64_t part, uint64_t whole);  // "98/133 (73.7 %)"; whole = 0: "0/0"

}  // namespace esp
