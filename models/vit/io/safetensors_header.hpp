// The header of a .safetensors file: which tensors it holds and where. Files come from anywhere, so everything that the
// format demands is checked before a number is used.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace esp::vit {

struct TensorEntry {
  std::string name;
  std::string dtype;  // as in the file: "F32", "BF16", ...
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  // bytes, counted from the end of the header
  uint64_t end = 0;
  uint64_t numel = 1;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // by name
  std::map<std::string, std::string> metadata;
};

inline constexpr uint64_t kMaxHeaderBytes = 25'000'000;  // what the hub's own client reads

// Bytes of one element, 0 for a dtype that is unknown or smaller than a byte.
uint64_t dtype_bytes(std::string_view dtype);

// `data_bytes`: what follows the header in the file. Memory stays in proportion to the text. Throws Failure
// (ESP_E_DATA) for: no JSON object, unknown or missing or doubled keys, a name twice, unknown dtypes, numbers that are
// no whole non-negative ones, products that overflow, sizes that are not shape times dtype, holes, overlap, bytes left
// over.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes, const std::string& origin);

}  // namespace esp::vit
