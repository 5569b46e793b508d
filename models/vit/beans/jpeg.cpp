#include "jpeg.hpp"

// jpeglib.h needs what stands before it, jerror.h needs jpeglib.h.
// clang-format off
#include <cstddef>
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <csetjmp>
#include <cstdlib>
#include <memory>
#include <string>

#include "data_error.hpp"

namespace esp::vit {
namespace {

// libjpeg leaves by longjmp, which must not skip destructors: what is called between setjmp and its end has none.
struct Failure {
  jpeg_error_mgr manager;  // first: libjpeg hands back its address
  std::jmp_buf leave;
  char text[JMSG_LENGTH_MAX];
  int max_scans;
};

Failure& failure_of(j_common_ptr codec) { return *reinterpret_cast<Failure*>(codec->err); }

[[noreturn]] void leave(j_common_ptr codec) {
  Failure& failure = failure_of(codec);
  codec->err->format_message(codec, failure.text);
  std::longjmp(failure.leave, 1);
}

// Warnings end decoding, but for those about headers that decode all the same.
void on_message(j_common_ptr codec, int level) {
  if (level >= 0) return;
  const int code = codec->err->msg_code;
  if (code != JWRN_ADOBE_XFORM && code != JWRN_NOT_SEQUENTIAL && code != JWRN_JFIF_MAJOR) leave(codec);
}

void on_progress(j_common_ptr codec) {
  Failure& failure = failure_of(codec);
  if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number <= failure.max_scans) return;
  std::snprintf(failure.text, sizeof failure.text, "more than %d scans", failure.max_scans);
  std::longjmp(failure.leave, 1);
}

void prepare_failure(Failure& failure, int max_scans) {
  jpeg_std_error(&failure.manager);
  failure.manager.error_exit = leave;
  failure.manager.emit_message = on_message;
  failure.max_scans = max_scans;
  failure.text[0] = 0;
}

class Decoder {
 public:
  explicit Decoder(const JpegLimits& limits) {
    prepare_failure(failure_, limits.scans);
    progress_.progress_monitor = on_progress;
    codec_.err = &failure_.manager;
    jpeg_create_decompress(&codec_);
    codec_.progress = &progress_;
    codec_.mem->max_memory_to_use = static_cast<long>(limits.memory);
  }
  ~Decoder() { jpeg_destroy_decompress(&codec_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  bool read_header(const uint8_t* data, size_t bytes) {
    if (setjmp(failure_.leave) != 0) return false;
    jpeg_mem_src(&codec_, data, bytes);
    jpeg_read_header(&codec_, TRUE);
    return true;
  }

  bool read_pixels(uint8_t* rows) {
    if (setjmp(failure_.leave) != 0) return false;
    codec_.out_color_space = JCS_RGB;
    codec_.dct_method = JDCT_ISLOW;
    codec_.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&codec_);
    const size_t stride = static_cast<size_t>(codec_.output_width) * 3;
    while (codec_.output_scanline < codec_.output_height) {
      uint8_t* row = rows + codec_.output_scanline * stride;
      jpeg_read_scanlines(&codec_, &row, 1);
    }
    jpeg_finish_decompress(&codec_);
    return true;
  }

  const jpeg_decompress_struct& codec() const { return codec_; }
  std::string reason() const { return failure_.text; }

 private:
  Failure failure_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct codec_{};
};

void check_header(const jpeg_decompress_struct& header, const JpegLimits& limits) {
  const uint64_t pixels = static_cast<uint64_t>(header.image_width) * header.image_height;
  if (pixels > limits.pixels) {
    throw DataError(std::to_string(header.image_width) + " x " + std::to_string(header.image_height) +
                    " pixels are more than the limit of " + std::to_string(limits.pixels));
  }
  switch (header.jpeg_color_space) {
    case JCS_GRAYSCALE:
    case JCS_RGB:
    case JCS_YCbCr:
      return;
    case JCS_CMYK:
    case JCS_YCCK:
      throw DataError("is a CMYK image; convert it to RGB");
    default:
      throw DataError("has " + std::to_string(header.num_components) +
                      " components of unknown colours; convert it to RGB");
  }
}

struct Free {
  void operator()(unsigned char* memory) const { std::free(memory); }
};

bool compress(jpeg_compress_struct& codec, Failure& failure, const RgbImage& image, int quality, unsigned char** memory,
              unsigned long* bytes) {
  if (setjmp(failure.leave) != 0) return false;
  jpeg_create_compress(&codec);
  jpeg_mem_dest(&codec, memory, bytes);
  codec.image_width = image.width;
  codec.image_height = image.height;
  codec.input_components = 3;
  codec.in_color_space = JCS_RGB;
  jpeg_set_defaults(&codec);
  jpeg_set_quality(&codec, quality, TRUE);
  jpeg_start_compress(&codec, TRUE);
  while (codec.next_scanline < codec.image_height) {
    auto* row = const_cast<uint8_t*>(image.pixels.data()) + static_cast<size_t>(codec.next_scanline) * image.width * 3;
    jpeg_write_scanlines(&codec, &row, 1);
  }
  jpeg_finish_compress(&codec);
  return true;
}

}  // namespace

void decode_jpeg(const std::vector<uint8_t>& file, RgbImage& out, const JpegLimits& limits) {
  if (file.empty()) throw DataError("is empty");
  Decoder decoder(limits);
  if (!decoder.read_header(file.data(), file.size())) throw DataError(decoder.reason());
  const jpeg_decompress_struct& header = decoder.codec();
  check_header(header, limits);
  out.width = header.image_width;
  out.height = header.image_height;
  out.pixels.resize(static_cast<size_t>(out.width) * out.height * 3);
  if (!decoder.read_pixels(out.pixels.data())) throw DataError(decoder.reason());
}

std::vector<uint8_t> encode_jpeg(const RgbImage& image, int quality) {
  Failure failure{};
  prepare_failure(failure, 0);
  jpeg_compress_struct codec{};
  codec.err = &failure.manager;
  unsigned char* memory = nullptr;
  unsigned long bytes = 0;
  const bool done = compress(codec, failure, image, quality, &memory, &bytes);
  jpeg_destroy_compress(&codec);
  const std::unique_ptr<unsigned char, Free> guard(memory);
  if (!done) throw DataError(ESP_E_INTERNAL, std::string("cannot encode a JPEG: ") + failure.text);
  return {memory, memory + bytes};
}

}  // namespace esp::vit
