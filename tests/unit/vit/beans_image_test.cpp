// Decoding and resizing against what Pillow made of the same files (see data/make_vectors.py), and damaged files.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "beans/jpeg.hpp"
#include "beans/leaf_drawing.hpp"
#include "beans/resize.hpp"
#include "beans_fixture.hpp"

namespace esp::vit::test {
namespace {

std::string fnv1a(const std::vector<uint8_t>& bytes) {
  uint64_t value = 0xcbf29ce484222325ull;
  for (const uint8_t byte : bytes) value = (value ^ byte) * 0x100000001b3ull;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

RgbImage decode(const std::string& file, const JpegLimits& limits = {}) {
  RgbImage image;
  decode_jpeg(bytes_of(file), image, limits);
  return image;
}

std::vector<uint8_t> resized(const RgbImage& image, uint32_t width, uint32_t height) {
  std::vector<uint8_t> out(size_t{width} * height * 3);
  Resizer().resize(image.pixels.data(), image.width, image.height, out.data(), width, height);
  return out;
}

std::string decode_failure(const std::string& file, const JpegLimits& limits = {}) {
  return failure_of([&] { decode(file, limits); });
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

TEST(PillowExactness, EveryStoredCaseHasEqualBytes) {
  std::ifstream vectors(vector_path("vectors.txt"));
  std::string file, hash;
  uint32_t width = 0, height = 0;
  int cases = 0;
  for (; vectors >> file >> width >> height >> hash; ++cases) {
    const RgbImage image = decode(read_file(vector_path(file)));
    EXPECT_EQ(fnv1a(resized(image, width, height)), hash) << file << " to " << width << " x " << height;
  }
  EXPECT_GE(cases, 78);
}

TEST(PillowExactness, SmallCasesAreEqualByteByByte) {
  const std::vector<uint8_t> expected = bytes_of(read_file(vector_path("small.rgb")));
  std::ifstream vectors(vector_path("vectors.txt"));
  std::string file, hash;
  uint32_t width = 0, height = 0;
  std::vector<uint8_t> all;
  while (vectors >> file >> width >> height >> hash) {
    if (width != 16 || height != 9) continue;
    const std::vector<uint8_t> out = resized(decode(read_file(vector_path(file))), width, height);
    all.insert(all.end(), out.begin(), out.end());
  }
  EXPECT_EQ(all, expected);
}

TEST(Resizer, IsTheSameWhenItIsUsedForManySizes) {
  const RgbImage large = decode(read_file(vector_path("large.jpg")));
  const RgbImage small = decode(read_file(vector_path("rgb_444.jpg")));
  Resizer resizer;
  std::vector<uint8_t> out(32 * 32 * 3);
  for (const RgbImage* image : {&large, &small, &large}) {
    resizer.resize(image->pixels.data(), image->width, image->height, out.data(), 32, 32);
    EXPECT_EQ(out, resized(*image, 32, 32));
  }
}

TEST(Resizer, KeepsAWhiteImageWhite) {
  const RgbImage white{613, 401, std::vector<uint8_t>(613 * 401 * 3, 255)};
  EXPECT_EQ(resized(white, 224, 224), std::vector<uint8_t>(224 * 224 * 3, 255));
  EXPECT_EQ(resized(white, 1, 1), std::vector<uint8_t>(3, 255));
}

TEST(Jpeg, EncodesWhatItDecodes) {
  const RgbImage image = draw_leaf(LeafKind::kHealthy, 1, 1);
  const std::vector<uint8_t> file = encode_jpeg(image, 95);
  RgbImage again;
  decode_jpeg(file, again);
  ASSERT_EQ(again.pixels.size(), image.pixels.size());
  double difference = 0;
  for (size_t i = 0; i < image.pixels.size(); ++i) difference += std::abs(image.pixels[i] - again.pixels[i]);
  EXPECT_LT(difference / static_cast<double>(image.pixels.size()), 3.0);
}

TEST(DamagedJpeg, TruncationIsAnErrorWhereverItHappens) {
  const std::string file = read_file(vector_path("rgb_420.jpg"));
  for (size_t bytes = 0; bytes + 1 < file.size(); bytes += 37) {
    EXPECT_NE(decode_failure(file.substr(0, bytes)), "no failure") << bytes << " of " << file.size() << " bytes";
  }
}

TEST(DamagedJpeg, TruncatedProgressiveFilesAreErrorsToo) {
  const std::string file = read_file(vector_path("progressive.jpg"));
  for (size_t bytes = 100; bytes + 1 < file.size(); bytes += 41) {
    EXPECT_NE(decode_failure(file.substr(0, bytes)), "no failure") << bytes << " of " << file.size() << " bytes";
  }
}

TEST(DamagedJpeg, AHoleInTheDataIsAnError) {
  std::string file = read_file(vector_path("restarts.jpg"));
  file.erase(file.size() / 2, 400);
  EXPECT_NE(decode_failure(file), "no failure");
}

TEST(DamagedJpeg, AnyFlippedByteEitherDecodesOrFailsWithAReason) {
  const std::string file = read_file(vector_path("grey_progressive.jpg"));
  for (size_t at = 0; at < file.size(); ++at) {
    std::string changed = file;
    changed[at] = static_cast<char>(changed[at] ^ 0xff);
    EXPECT_FALSE(decode_failure(changed).empty()) << "byte " << at;
  }
}

TEST(DamagedJpeg, OtherFilesAreNamedForWhatTheyAre) {
  EXPECT_TRUE(contains(decode_failure(""), "is empty"));
  EXPECT_TRUE(contains(decode_failure("\x89PNG\r\n\x1a\n and more"), "Not a JPEG file"));
  EXPECT_TRUE(contains(decode_failure(read_file(vector_path("cmyk.jpg"))), "CMYK"));
}

TEST(DamagedJpeg, TrailingBytesAreIgnoredAsPillowDoes) {
  const std::string file = read_file(vector_path("rgb_422.jpg"));
  EXPECT_EQ(decode(file + "trailing bytes").pixels, decode(file).pixels);
}

TEST(JpegLimits, PixelsAreCountedBeforeMemoryIsTaken) {
  // A header that claims 65500 x 65500 pixels.
  std::string file = read_file(vector_path("rgb_444.jpg"));
  const size_t frame = file.find("\xff\xc0");
  ASSERT_NE(frame, file.npos);
  for (const size_t at : {frame + 5, frame + 7}) file.replace(at, 2, "\xff\xdc");
  EXPECT_TRUE(contains(decode_failure(file), "65500 x 65500 pixels are more than the limit"));
}

TEST(JpegLimits, EveryLimitHolds) {
  const std::string file = read_file(vector_path("progressive.jpg"));
  EXPECT_TRUE(contains(decode_failure(file, {.scans = 3}), "more than 3 scans"));
  EXPECT_TRUE(contains(decode_failure(file, {.pixels = 1000}), "limit of 1000"));
  EXPECT_NE(decode_failure(read_file(vector_path("progressive_tall.jpg")), {.memory = 100'000}), "no failure");
  EXPECT_EQ(decode_failure(file), "no failure");
}

TEST(JpegLimits, AThousandScansAreRefused) {
  // The last scan of a progressive file, over and over: legal in form, a minute of work in larger files.
  const std::string file = read_file(vector_path("grey_progressive.jpg"));
  const size_t last_scan = file.rfind("\xff\xda");
  const std::string scan = file.substr(last_scan, file.size() - 2 - last_scan);
  std::string bomb = file.substr(0, file.size() - 2);
  for (int i = 0; i < 1000; ++i) bomb += scan;
  const std::string failure = decode_failure(bomb + "\xff\xd9");
  EXPECT_NE(failure, "no failure");
}

}  // namespace
}  // namespace esp::vit::test
