#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "io/half.hpp"
#include "io/safetensors_file.hpp"
#include "io/safetensors_writer.hpp"
#include "scratch.hpp"

namespace esp::vit::test {
namespace {

std::string parse_failure(const std::string& header, uint64_t data_bytes) {
  return failure_of([&] { parse_safetensors_header(header, data_bytes, "x.safetensors"); });
}

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Safetensors, ReadsBackWhatItWroteInEveryDtype) {
  const ScratchFolder folder;
  const std::vector<float> a = {1, -2.5f, 0, 65504, 1e-3f, 3.14159f};
  const std::vector<float> b = {42};
  for (const esp_dtype dtype : {ESP_F32, ESP_BF16, ESP_F16}) {
    const std::string path = folder / "model.safetensors";
    write_safetensors(path, {{"b", {}, b.data()}, {"a", {2, 3}, a.data()}}, dtype);
    const SafetensorsFile file(path);
    ASSERT_EQ(file.header().tensors.size(), 2u);
    EXPECT_EQ(file.header().metadata.at("format"), "pt");
    const TensorEntry* entry = file.find("a");
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->dtype, file_dtype(dtype));
    EXPECT_EQ(entry->shape, (std::vector<uint64_t>{2, 3}));
    std::vector<float> got(6);
    file.read_floats(*entry, 0, 6, got.data());
    const double tolerance = dtype == ESP_F32 ? 0 : dtype == ESP_F16 ? 0x1p-11 : 0x1p-8;
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(got[i], a[i], std::abs(a[i]) * tolerance) << i;
    file.read_floats(*entry, 1, 3, got.data());
    EXPECT_FLOAT_EQ(got[0], -2.5f);
    EXPECT_EQ(file.find("c"), nullptr);
  }
}

TEST(Safetensors, ReadsAFileThatTransformersWrote) {
  const SafetensorsFile file(golden_path("tiny/model.safetensors"));
  EXPECT_EQ(file.header().tensors.size(), 40u);
  ASSERT_NE(file.find("vit.embeddings.position_embeddings"), nullptr);
  EXPECT_EQ(file.find("vit.embeddings.position_embeddings")->shape, (std::vector<uint64_t>{1, 17, 32}));
}

TEST(Safetensors, LeavesNoFileBehindWhenTheFolderIsMissing) {
  const ScratchFolder folder;
  const float one = 1;
  const std::string text = failure_of([&] {
    write_safetensors(folder / "absent/model.safetensors", {{"a", {1}, &one}}, ESP_F32);
  });
  EXPECT_TRUE(mentions(text, "No such file or directory")) << text;
}

TEST(Safetensors, AFileThatFindsNoRoomIsAClearErrorAndLeavesNothing) {
  const ScratchFolder folder;
  const std::vector<float> values(100000);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit little{4096, before.rlim_max};
  ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &little), 0);
  const std::string text = failure_of([&] {
    write_safetensors(folder / "m.safetensors", {{"a", {100000}, values.data()}}, ESP_F32);
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_TRUE(mentions(text, "m.safetensors: cannot be written after 4096 bytes: File too large")) << text;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, AcceptsEmptyTensorsAndScalars) {
  const auto header = parse_safetensors_header(
      R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]}})",
      4, "x");
  EXPECT_EQ(header.tensors[0].numel, 0u);
  EXPECT_EQ(header.tensors[1].numel, 1u);
}

TEST(Safetensors, RefusesHostileHeadersByWhatIsWrong) {
  struct Case {
    const char* header;
    uint64_t data;
    const char* part;
  };
  const Case cases[] = {
      {"", 0, "does not begin with '{'"},
      {" {}", 0, "does not begin with '{'"},
      {"[]", 0, "does not begin with '{'"},
      {"{", 0, "not valid JSON"},
      {"{} x", 0, "not valid JSON"},
      {R"({"a":1})", 0, "a number out of place"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8, "describes 4 bytes of data, the file has 8"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3, "describes 4 bytes of data, the file has 3"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "needs 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "needs 4 bytes"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "a negative number"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "not whole"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4, "not whole"},
      {R"({"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}})", 4, "not valid JSON"},
      {R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1, "the dtype F4"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "not dtype, shape and two data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "a number out of place"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "not dtype, shape and two data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "an unknown key"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "a key twice"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "an array out of place"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "names a twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
       12, "a hole or an overlap"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "a hole or an overlap"},
      {R"({"__metadata__":{"format":1}})", 0, "a number out of place"},
      {R"({"__metadata__":null})", 0, "a null"},
      {R"({"__metadata__":{"format":"pt","format":"pt"}})", 0, "a key twice"},
  };
  for (const Case& c : cases) {
    const std::string text = parse_failure(c.header, c.data);
    EXPECT_TRUE(mentions(text, c.part)) << c.header << "\n  " << text;
    EXPECT_TRUE(mentions(text, "x.safetensors")) << text;
  }
}

TEST(Safetensors, RefusesDeepNestingWithoutRecursion) {
  const std::string text = parse_failure("{\"a\":" + std::string(1'000'000, '['), 0);
  EXPECT_TRUE(mentions(text, "an array out of place")) << text;
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const ScratchFolder folder;
  const std::string bytes = safetensors_bytes(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})",
      std::string(11, 'x'));
  for (size_t n = 0; n < bytes.size(); ++n) {
    write_file(folder / "cut.safetensors", bytes.substr(0, n));
    EXPECT_NE(failure_of([&] { SafetensorsFile(folder / "cut.safetensors"); }), "no failure") << n << " bytes";
  }
  write_file(folder / "cut.safetensors", bytes);
  EXPECT_EQ(failure_of([&] { SafetensorsFile(folder / "cut.safetensors"); }), "no failure");
}

TEST(Safetensors, AHeaderLengthBeyondTheLimitAllocatesNothing) {
  const ScratchFolder folder;
  write_file(folder / "long.safetensors", std::string(8, '\xff') + "{}");
  EXPECT_TRUE(mentions(failure_of([&] { SafetensorsFile(folder / "long.safetensors"); }), "too long"));
}

TEST(Half, EveryF16SurvivesTheWayToF32AndBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = float_of_f16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_of_f16(f16_of_float(value))));
    } else {
      EXPECT_EQ(f16_of_float(value), half) << bits;
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(f16_of_float(1 + 0x1p-11f), 0x3c00);      // half way, down to even
  EXPECT_EQ(f16_of_float(1 + 3 * 0x1p-11f), 0x3c02);  // half way, up to even
  EXPECT_EQ(f16_of_float(65519.f), 0x7bff);           // largest
  EXPECT_EQ(f16_of_float(65520.f), 0x7c00);           // infinite
  EXPECT_EQ(f16_of_float(0x1p-25f), 0x0000);          // half of the smallest, down to even
  EXPECT_EQ(f16_of_float(0x1.8p-25f), 0x0001);
  EXPECT_EQ(bf16_of_float(1 + 0x1p-8f), 0x3f80);
  EXPECT_EQ(bf16_of_float(1 + 3 * 0x1p-8f), 0x3f82);
  EXPECT_EQ(bf16_of_float(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace esp::vit::test
