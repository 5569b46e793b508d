// JPEG to RGB bytes and back. Decoding gives the bytes that Pillow gives for convert("RGB"): accurate integer DCT,
// smooth chroma upsampling, no EXIF rotation.
#pragma once

#include <cstdint>
#include <vector>

namespace esp::vit {

struct JpegLimits {
  uint64_t pixels = 64ull << 20;
  int scans = 50;                // of progressive files; each costs a pass over the image
  uint64_t memory = 1ull << 30;  // working memory of the decoder
};

// Dense [height, width, 3] RGB.
struct RgbImage {
  uint32_t width = 0;
  uint32_t height = 0;
  std::vector<uint8_t> pixels;
};

// Into `out`, whose storage is reused. Throws DataError with the decoder's reason: no JPEG, truncated or damaged (every
// warning that means lost data), beyond a limit (before memory is taken for the pixels), CMYK.
void decode_jpeg(const std::vector<uint8_t>& file, RgbImage& out, const JpegLimits& limits = {});

// Baseline, 4:2:0.
std::vector<uint8_t> encode_jpeg(const RgbImage& image, int quality);

}  // namespace esp::vit
