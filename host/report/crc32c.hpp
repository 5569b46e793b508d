// CRC-32C (Castagnoli), as event files use it.
#pragma once

#include <cstdint>
#include <string_view>

namespace esp {

uint32_t crc32c(std::string_view bytes);

// Masked, so that the checksum of data that holds checksums stays meaningful.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace esp
