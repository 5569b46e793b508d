#include "report/event_file.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "error.hpp"
#include "report/crc32c.hpp"
#include "scratch_folder.hpp"

namespace esp {
namespace {

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(c));
    text += digits;
  }
  return text;
}

TEST(Crc32c, GivesTheKnownTestVectors) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(masked_crc32c("123456789"), 0xC78AB0E5u);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720 B.4
}

TEST(EventFile, EncodesAScalarAsProtobufDoes) {
  // Event { wall_time: 1.0, step: 300, summary { value { tag: "a/b", simple_value: 0.5 } } }
  EXPECT_EQ(hex(scalar_event(1.0, 300, "a/b", 0.5f)),
            "09000000000000f03f"
            "10ac02"
            "2a0c0a0a0a03612f62150000003f");
}

TEST(EventFile, BeginsWithTheFormatsVersion) {
  EXPECT_EQ(hex(version_event(0.0)),
            "090000000000000000"
            "1a0d" +
                hex("brain.Event:2"));
}

TEST(EventFile, FramesRecordsWithMaskedChecksums) {
  const std::string record = event_record("123456789");
  ASSERT_EQ(record.size(), 8u + 4 + 9 + 4);
  EXPECT_EQ(hex(record.substr(0, 8)), "0900000000000000");
  uint32_t of_length = 0, of_payload = 0;
  std::memcpy(&of_length, record.data() + 8, 4);
  std::memcpy(&of_payload, record.data() + 21, 4);
  EXPECT_EQ(of_length, masked_crc32c(record.substr(0, 8)));
  EXPECT_EQ(of_payload, 0xC78AB0E5u);
}

TEST(EventFile, HoldsEveryScalarOnceItIsClosed) {
  const test::ScratchFolder folder;
  {
    EventFile events(folder.path());
    for (int step = 1; step <= 100; ++step) events.scalar(step, "train/loss", 1.0 / step);
  }
  const auto file = *std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(file.path().filename().string().find("events.out.tfevents."), 0u);
  std::ifstream stream(file.path(), std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(stream), {});
  size_t records = 0;
  for (size_t at = 0; at < bytes.size(); ++records) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    ASSERT_LE(at + 16 + length, bytes.size());
    EXPECT_EQ(event_record(bytes.substr(at + 12, length)), bytes.substr(at, 16 + length));
    at += 16 + length;
  }
  EXPECT_EQ(records, 101u);
}

TEST(DurableFile, NamesTheFileThatCannotBeWritten) {
  try {
    write_whole_file("/proc/no-such-folder/results.json", "{}");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kResource);
    EXPECT_NE(std::string(error.what()).find("/proc/no-such-folder/results.json"), std::string::npos);
  }
}

TEST(DurableFile, ReplacesAFileAsAWholeAndLeavesNoOther) {
  const test::ScratchFolder folder;
  write_whole_file(folder.path() / "results.json", "old and long");
  write_whole_file(folder.path() / "results.json", "new");
  std::ifstream stream(folder.path() / "results.json");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace esp
