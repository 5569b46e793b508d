// What the tests of the Beans dataset share: files and archives made on the spot, and a dataset behind its C table.
#pragma once

#include <cstdint>
#include <espalier/dataset.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "beans/beans_dataset.hpp"
#include "beans/jpeg.hpp"
#include "scratch.hpp"

namespace esp::vit::test {

std::string vector_path(const std::string& name);  // in tests/unit/vit/data
std::vector<uint8_t> bytes_of(const std::string& text);

// A JPEG of one colour, as file contents.
std::string plain_jpeg(uint32_t width, uint32_t height, uint8_t grey);

// Writes a file with the folders above it.
void put_file(const std::string& path, std::string_view bytes);

// One member of an archive, with every lie that a hostile one may tell.
struct ZipEntry {
  std::string name;
  std::string data;  // decoded
  bool deflate = false;
  uint16_t flags = 0;
  uint16_t method_override = 0xffff;
  uint32_t attributes = 0;      // external
  int64_t declared_bytes = -1;  // instead of data.size()
  int64_t checksum = -1;
  int64_t header = -1;     // offset of the local header
  std::string local_name;  // instead of name, in the local header
  bool zip64 = false;      // sizes and offset in the extra field
};

// The bytes of a ZIP file. `count` replaces the number of members in the end record; zip64 adds that record.
std::string make_zip(const std::vector<ZipEntry>& entries, int64_t count = -1, bool zip64 = false);

struct FetchedBatch {
  std::vector<uint8_t> pixels, flips;
  std::vector<int64_t> labels;
};

// The component as a host sees it: created from options, described, prepared for pixels of side x side, flip and label.
class DatasetRig {
 public:
  explicit DatasetRig(BeansDataset::Options options, uint64_t seed = 42);
  DatasetRig(const DatasetRig&) = delete;
  DatasetRig& operator=(const DatasetRig&) = delete;

  BeansDataset& dataset() { return *dataset_; }
  const std::vector<std::string>& log() const { return log_; }

  void prepare(int64_t side, std::vector<uint32_t> splits, uint64_t limit = 0, uint32_t workers = 1);
  void prepare_fields(const std::vector<esp_field>& fields, std::vector<uint32_t> splits, uint64_t limit = 0,
                      uint32_t workers = 1);
  FetchedBatch fetch(uint32_t split, uint64_t epoch, const std::vector<uint64_t>& indices, uint32_t flags = 0);

 private:
  static const void* service(void* ctx, const char* id);
  static void log_line(void* ctx, uint32_t level, const char* text, uint64_t bytes);

  esp_run run_{};
  esp_host c_host_{};
  esp_config config_{};
  std::vector<std::string> log_;
  std::unique_ptr<Host> host_;
  std::unique_ptr<BeansDataset> dataset_;
  int64_t side_ = 0;
};

esp_field field_of(const char* name, esp_dtype dtype, const std::vector<int64_t>& shape);  // shape must outlive it

}  // namespace esp::vit::test
