// Reads tensors out of a .safetensors file, in pieces, without loading it as a whole.
#pragma once

#include <cstdint>
#include <string>

#include "files.hpp"
#include "safetensors_header.hpp"

namespace esp::vit {

class SafetensorsFile {
 public:
  // Reads and checks the header. Throws Failure (ESP_E_IO, ESP_E_DATA) naming the file.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const SafetensorsHeader& header() const { return header_; }
  const TensorEntry* find(const std::string& name) const;  // nullptr if it is not there

  // Elements [lo, hi) of a tensor of dtype F32, F16 or BF16. Thread-safe.
  void read_floats(const TensorEntry& tensor, uint64_t lo, uint64_t hi, float* out) const;

 private:
  InputFile file_;
  SafetensorsHeader header_;
  uint64_t data_ = 0;  // offset of the data buffer in the file
};

}  // namespace esp::vit
