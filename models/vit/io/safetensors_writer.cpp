#include "safetensors_writer.hpp"

#include <algorithm>
#include <espalier/failure.hpp>
#include <nlohmann/json.hpp>

#include "files.hpp"
#include "half.hpp"

namespace esp::vit {
namespace {

constexpr uint64_t kPieceElements = uint64_t{1} << 20;
constexpr size_t kHeaderAlignment = 8;

uint64_t numel_of(const TensorToWrite& tensor) {
  uint64_t numel = 1;
  for (const int64_t extent : tensor.shape) numel *= static_cast<uint64_t>(extent);
  return numel;
}

std::string header_text(const std::vector<TensorToWrite>& tensors, esp_dtype dtype) {
  nlohmann::json header;
  header["__metadata__"] = {{"format", "pt"}};
  uint64_t at = 0;
  for (const TensorToWrite& tensor : tensors) {
    const uint64_t end = at + numel_of(tensor) * ESP_DTYPE_BYTES(dtype);
    header[tensor.name] = {{"dtype", file_dtype(dtype)}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.append((kHeaderAlignment - text.size() % kHeaderAlignment) % kHeaderAlignment, ' ');
  return text;
}

void write_halves(OutputFile& file, const float* values, uint64_t numel, uint16_t (*narrow)(float)) {
  std::vector<uint16_t> piece(std::min(numel, kPieceElements));
  for (uint64_t at = 0; at < numel; at += piece.size()) {
    const uint64_t n = std::min<uint64_t>(numel - at, piece.size());
    std::transform(values + at, values + at + n, piece.begin(), narrow);
    file.write(piece.data(), n * sizeof(uint16_t));
  }
}

}  // namespace

std::string file_dtype(esp_dtype dtype) {
  if (dtype == ESP_F32) return "F32";
  if (dtype == ESP_BF16) return "BF16";
  if (dtype == ESP_F16) return "F16";
  fail(ESP_E_UNSUPPORTED, "weights are saved as F32, BF16 or F16");
}

void write_safetensors(const std::string& path, std::vector<TensorToWrite> tensors, esp_dtype dtype) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorToWrite& a, const TensorToWrite& b) { return a.name < b.name; });
  const std::string header = header_text(tensors, dtype);
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(uint64_t{header.size()} >> 8 * i);
  OutputFile file(path);
  file.write(length, sizeof length);
  file.write(header.data(), header.size());
  for (const TensorToWrite& tensor : tensors) {
    const uint64_t numel = numel_of(tensor);
    if (dtype == ESP_F32) {
      file.write(tensor.values, numel * sizeof(float));
    } else {
      write_halves(file, tensor.values, numel, dtype == ESP_F16 ? f16_of_float : bf16_of_float);
    }
  }
  file.commit();
}

}  // namespace esp::vit
