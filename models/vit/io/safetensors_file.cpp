#include "safetensors_file.hpp"

#include <algorithm>
#include <cstring>
#include <espalier/failure.hpp>
#include <vector>

#include "half.hpp"

namespace esp::vit {
namespace {

constexpr uint64_t kPrefixBytes = 8;
constexpr uint64_t kPieceElements = uint64_t{1} << 20;

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const std::string name = shown(path);
  if (file_.bytes() < kPrefixBytes) {
    fail(ESP_E_DATA, name, ": has ", file_.bytes(), " bytes, too few for a .safetensors file");
  }
  unsigned char prefix[kPrefixBytes];
  file_.read(0, prefix, sizeof prefix);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | prefix[i];
  if (length > kMaxHeaderBytes) {
    fail(ESP_E_DATA, name, ": is no .safetensors file, or its header is too long (", length, " bytes, at most ",
         kMaxHeaderBytes, ")");
  }
  if (length > file_.bytes() - kPrefixBytes) {
    fail(ESP_E_DATA, name, ": the header should have ", length, " bytes, the whole file has ", file_.bytes(),
         "; it is damaged or was cut off");
  }
  std::string json(length, '\0');
  file_.read(kPrefixBytes, json.data(), json.size());
  data_ = kPrefixBytes + length;
  header_ = parse_safetensors_header(json, file_.bytes() - data_, path);
}

const TensorEntry* SafetensorsFile::find(const std::string& name) const {
  const auto at = std::lower_bound(header_.tensors.begin(), header_.tensors.end(), name,
                                   [](const TensorEntry& tensor, const std::string& key) { return tensor.name < key; });
  return at != header_.tensors.end() && at->name == name ? &*at : nullptr;
}

void SafetensorsFile::read_floats(const TensorEntry& tensor, uint64_t lo, uint64_t hi, float* out) const {
  if (lo > hi || hi > tensor.numel) {
    fail(ESP_E_INTERNAL, "elements [", lo, ", ", hi, ") were asked of ", shown(tensor.name), ", which has ",
         tensor.numel);
  }
  const uint64_t start = data_ + tensor.begin;
  if (tensor.dtype == "F32") {
    file_.read(start + lo * 4, out, (hi - lo) * 4);
    return;
  }
  if (tensor.dtype != "F16" && tensor.dtype != "BF16") {
    fail(ESP_E_DATA, shown(path()), ": ", shown(tensor.name), " is ", tensor.dtype, "; F32, F16 and BF16 are read");
  }
  const auto widen = tensor.dtype == "F16" ? float_of_f16 : float_of_bf16;
  std::vector<uint16_t> piece(std::min(hi - lo, kPieceElements));
  for (uint64_t at = lo; at < hi; at += piece.size()) {
    const uint64_t n = std::min<uint64_t>(hi - at, piece.size());
    file_.read(start + at * 2, piece.data(), n * 2);
    std::transform(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(n), out + (at - lo), widen);
  }
}

}  // namespace esp::vit
