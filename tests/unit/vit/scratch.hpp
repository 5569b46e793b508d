// What the tests of the ViT share: a folder that goes away, files out of bytes, and failures as texts.
#pragma once

#include <cstdint>
#include <espalier/failure.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace esp::vit::test {

class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);

// Copies the tiny checkpoint that transformers wrote into `folder`.
void copy_golden(const std::string& folder);
std::string golden_path(const std::string& name);

// A .safetensors file: length, header, data.
std::string safetensors_bytes(const std::string& header, const std::string& data);

// The text of the Failure that `body` throws; "no failure" if it throws none.
std::string failure_of(const std::function<void()>& body);

}  // namespace esp::vit::test
