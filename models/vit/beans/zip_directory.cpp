#include "zip_directory.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_set>

#include "data_error.hpp"

namespace esp::vit {
namespace {

constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr uint32_t kEntrySignature = 0x02014b50;
constexpr uint64_t kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20, kEntryBytes = 46, kLocalBytes = 30;
constexpr uint16_t kEncryptedFlag = 0x0001, kStrongEncryptionFlag = 0x0040, kMaskedHeadersFlag = 0x2000;
constexpr uint16_t kZip64Extra = 0x0001;
constexpr uint16_t kStored = 0;
constexpr uint32_t kUnixTypeMask = 0170000, kUnixRegular = 0100000, kUnixFolder = 0040000;

[[noreturn]] void damaged(const std::string& what) { throw DataError("damaged ZIP file: " + what); }

struct DirectoryPlace {
  uint64_t offset = 0, bytes = 0, members = 0;
};

// The end record lies in the last 64 KiB, before a comment that reaches to the end of the file.
uint64_t find_end(const std::vector<uint8_t>& tail) {
  for (uint64_t at = tail.size() - kEndBytes + 1; at-- > 0;) {
    if (little32(&tail[at]) == kEndSignature && at + kEndBytes + little16(&tail[at + 20]) == tail.size()) return at;
  }
  throw DataError("not a ZIP file, or its end is missing");
}

DirectoryPlace read_end64(const ReadAt& read_at, uint64_t end) {
  if (end < kLocator64Bytes + kEnd64Bytes) damaged("ZIP64 record is missing");
  uint8_t locator[kLocator64Bytes];
  read_at(end - kLocator64Bytes, locator, sizeof locator);
  const uint64_t at = little64(locator + 8);
  if (little32(locator) != kLocator64Signature || at > end - kLocator64Bytes - kEnd64Bytes) {
    damaged("ZIP64 record is missing");
  }
  uint8_t record[kEnd64Bytes];
  read_at(at, record, sizeof record);
  // No extensible data: the record ends where the locator begins.
  if (little32(record) != kEnd64Signature || at + kEnd64Bytes != end - kLocator64Bytes) {
    damaged("ZIP64 record does not lie where the locator says");
  }
  if (little32(locator + 4) != 0 || little32(record + 16) != 0 || little32(record + 20) != 0 ||
      little64(record + 24) != little64(record + 32)) {
    throw DataError("ZIP file in several volumes; join them first");
  }
  const DirectoryPlace place{little64(record + 48), little64(record + 40), little64(record + 32)};
  if (place.offset > at || place.bytes != at - place.offset) damaged("directory does not end at its ZIP64 record");
  return place;
}

DirectoryPlace find_directory(const ReadAt& read_at, uint64_t file_bytes) {
  if (file_bytes < kEndBytes) throw DataError("not a ZIP file, or its end is missing");
  std::vector<uint8_t> tail(std::min<uint64_t>(file_bytes, kEndBytes + 0xffff));
  const uint64_t tail_offset = file_bytes - tail.size();
  read_at(tail_offset, tail.data(), tail.size());
  const uint64_t end = find_end(tail);
  const uint8_t* record = &tail[end];
  const bool needs64 =
      little16(record + 10) == 0xffff || little32(record + 12) == 0xffffffff || little32(record + 16) == 0xffffffff;
  if (needs64) return read_end64(read_at, tail_offset + end);
  if (little16(record + 4) != 0 || little16(record + 6) != 0 || little16(record + 8) != little16(record + 10)) {
    throw DataError("ZIP file in several volumes; join them first");
  }
  const DirectoryPlace place{little32(record + 16), little32(record + 12), little16(record + 10)};
  if (place.offset > tail_offset + end || place.bytes != tail_offset + end - place.offset) {
    damaged("directory does not end at its end record");
  }
  return place;
}

void check_name(std::string_view name) {
  const auto refuse = [&](const char* why) {
    throw DataError("ZIP member " + printable(name) + " " + why + "; refused, such an archive is not to be trusted");
  };
  if (name.empty()) refuse("has an empty name");
  if (name.find('\0') != std::string_view::npos) refuse("has a NUL in its name");
  if (name.find('\\') != std::string_view::npos) refuse("has a backslash in its name");
  if (name[0] == '/') refuse("has an absolute name");
  if (name.size() >= 2 && name[1] == ':') refuse("has a drive letter in its name");
  for (size_t from = 0; from <= name.size();) {
    const size_t to = std::min(name.find('/', from), name.size());
    if (name.substr(from, to - from) == "..") refuse("leads outside with \"..\"");
    from = to + 1;
  }
}

// Replaces the fields that did not fit into 32 bits by those of the ZIP64 extra field, which holds only these, in
// order.
void read_zip64_extra(const uint8_t* extra, size_t bytes, ZipMember& member) {
  uint64_t* const fields[] = {&member.bytes, &member.stored_bytes, &member.header};
  const bool needed =
      std::any_of(std::begin(fields), std::end(fields), [](const uint64_t* f) { return *f == 0xffffffff; });
  for (size_t at = 0; needed && at + 4 <= bytes;) {
    const size_t length = little16(extra + at + 2);
    if (length > bytes - at - 4) break;
    if (little16(extra + at) != kZip64Extra) {
      at += 4 + length;
      continue;
    }
    size_t from = at + 4, left = length;
    for (uint64_t* field : fields) {
      if (*field != 0xffffffff) continue;
      if (left < 8) damaged("ZIP64 sizes of member " + printable(member.name) + " are missing");
      *field = little64(extra + from);
      from += 8, left -= 8;
    }
    return;
  }
  if (needed) damaged("ZIP64 sizes of member " + printable(member.name) + " are missing");
}

// Links and devices are refused whichever system wrote the entry: the upper half of the attributes is read as Unix's
// mode by most tools.
void check_kind(const uint8_t* entry, ZipMember& member) {
  const uint16_t flags = little16(entry + 8);
  const uint32_t type = (little32(entry + 38) >> 16) & kUnixTypeMask;
  member.folder = member.name.back() == '/';
  if ((flags & (kEncryptedFlag | kStrongEncryptionFlag | kMaskedHeadersFlag)) != 0) {
    throw DataError("ZIP member " + printable(member.name) + " is encrypted; give an archive without a password");
  }
  if (type != 0 && type != kUnixRegular && !(type == kUnixFolder && member.folder)) {
    throw DataError("ZIP member " + printable(member.name) + " is a link or special file; refused");
  }
  if (little16(entry + 34) != 0) throw DataError("ZIP file in several volumes; join them first");
}

ZipMember read_entry(const uint8_t* entry, uint64_t left, uint64_t& entry_bytes) {
  if (left < kEntryBytes || little32(entry) != kEntrySignature) damaged("directory entry is broken");
  const uint64_t name_bytes = little16(entry + 28), extra_bytes = little16(entry + 30);
  entry_bytes = kEntryBytes + name_bytes + extra_bytes + little16(entry + 32);
  if (entry_bytes > left) damaged("directory entry is broken");
  ZipMember member;
  member.name.assign(reinterpret_cast<const char*>(entry) + kEntryBytes, name_bytes);
  check_name(member.name);
  member.method = little16(entry + 10);
  member.checksum = little32(entry + 16);
  member.stored_bytes = little32(entry + 20);
  member.bytes = little32(entry + 24);
  member.header = little32(entry + 42);
  read_zip64_extra(entry + kEntryBytes + name_bytes, extra_bytes, member);
  check_kind(entry, member);
  if (member.method == kStored && member.stored_bytes != member.bytes) {
    damaged("member " + printable(member.name) + " is stored, but its two sizes differ");
  }
  return member;
}

// A member inside another is how a small file decodes to petabytes; and none may reach into the directory.
void check_places(const std::vector<ZipMember>& members, uint64_t directory) {
  std::vector<const ZipMember*> order;
  for (const ZipMember& member : members) order.push_back(&member);
  std::sort(order.begin(), order.end(), [](const ZipMember* a, const ZipMember* b) { return a->header < b->header; });
  for (size_t i = 0; i < order.size(); ++i) {
    const ZipMember& member = *order[i];
    const uint64_t end = i + 1 < order.size() ? order[i + 1]->header : directory;
    const uint64_t fixed = kLocalBytes + member.name.size();
    if (member.header > end || end - member.header < fixed || end - member.header - fixed < member.stored_bytes) {
      throw DataError("ZIP member " + printable(member.name) + " overlaps what follows it; refused");
    }
  }
}

}  // namespace

std::vector<ZipMember> read_zip_directory(const ReadAt& read_at, uint64_t file_bytes, const ZipLimits& limits) {
  const DirectoryPlace place = find_directory(read_at, file_bytes);
  if (place.members > limits.members || place.bytes > limits.directory_bytes) {
    throw DataError("ZIP file with " + std::to_string(place.members) + " members (directory of " +
                    std::to_string(place.bytes) + " bytes); at most " + std::to_string(limits.members) +
                    " members and " + std::to_string(limits.directory_bytes) + " bytes are read");
  }
  if (place.members > place.bytes / kEntryBytes) damaged("more members are promised than the directory can hold");
  std::vector<uint8_t> directory(place.bytes);
  read_at(place.offset, directory.data(), directory.size());
  std::vector<ZipMember> members;
  members.reserve(place.members);
  std::unordered_set<std::string_view> names;
  uint64_t at = 0, entry_bytes = 0;
  for (uint64_t i = 0; i < place.members; ++i, at += entry_bytes) {
    members.push_back(read_entry(directory.data() + at, directory.size() - at, entry_bytes));
    if (!names.insert(members.back().name).second) {
      throw DataError("ZIP member " + printable(members.back().name) + " is there twice; refused");
    }
  }
  if (at != directory.size()) damaged("directory holds more than its members");
  check_places(members, place.offset);
  return members;
}

}  // namespace esp::vit
