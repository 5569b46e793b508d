// The central directory of a ZIP file as plain members, checked.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "zip_archive.hpp"

namespace esp::vit {

// Fills `bytes` bytes from an offset of the file, or throws DataError.
using ReadAt = std::function<void(uint64_t offset, void* to, uint64_t bytes)>;

// See ZipArchive's constructor for what is refused.
std::vector<ZipMember> read_zip_directory(const ReadAt& read_at, uint64_t file_bytes, const ZipLimits& limits);

inline uint16_t little16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
inline uint32_t little32(const uint8_t* p) { return little16(p) | static_cast<uint32_t>(little16(p + 2)) << 16; }
inline uint64_t little64(const uint8_t* p) { return little32(p) | static_cast<uint64_t>(little32(p + 4)) << 32; }

}  // namespace esp::vit
