// Reads members of a ZIP file in memory; nothing is ever extracted. Meant for archives from anywhere: what could lead
// outside, hide something or blow up is refused by name before a byte is inflated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace esp::vit {

struct ZipLimits {
  uint64_t members = 2'000'000;
  uint64_t directory_bytes = 512ull << 20;  // central directory, which is held in memory while it is read
  uint64_t member_bytes = 64ull << 20;      // decoded
  uint64_t ratio = 200;                     // decoded / stored ...
  uint64_t ratio_free_bytes = 1ull << 20;   // ... of members larger than this
};

struct ZipMember {
  std::string name;
  uint64_t stored_bytes = 0;
  uint64_t bytes = 0;   // decoded, as declared
  uint64_t header = 0;  // offset of the local header
  uint32_t checksum = 0;
  uint16_t method = 0;
  bool folder = false;
};

class ZipArchive {
 public:
  // Reads the directory. Throws DataError: not a ZIP file, damaged, more members than the limit, names that are
  // absolute or hold "..", backslashes, drive letters or NULs, links, encrypted, doubled or overlapping members.
  explicit ZipArchive(const std::string& path, const ZipLimits& limits = {});
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  const std::vector<ZipMember>& members() const { return members_; }

  // Throws DataError where declared sizes pass the limits or the method is neither stored nor deflate.
  void check_limits(const ZipMember& member) const;

  // Decoded bytes of one member; limits hold for what is really decoded. Thread-safe. Throws DataError on damage.
  void read(const ZipMember& member, std::vector<uint8_t>& out) const;

 private:
  int fd_ = -1;
  uint64_t size_ = 0;
  ZipLimits limits_;
  std::vector<ZipMember> members_;
};

}  // namespace esp::vit
