#include "beans_fixture.hpp"

#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>

namespace esp::vit::test {
namespace {

void put(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

std::string deflated(const std::string& data) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  std::string out(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

uint32_t checksum_of(const ZipEntry& entry) {
  if (entry.checksum >= 0) return static_cast<uint32_t>(entry.checksum);
  return static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(entry.data.data()), static_cast<uInt>(entry.data.size())));
}

// The fields that local header and directory entry have in common, from the version to the length of the name.
void put_common(std::string& out, const ZipEntry& entry, uint64_t stored, uint64_t bytes, size_t name_bytes) {
  put(out, 20, 2);
  put(out, entry.flags, 2);
  put(out, entry.method_override != 0xffff ? entry.method_override : entry.deflate ? 8 : 0, 2);
  put(out, 0, 4);  // time and date
  put(out, checksum_of(entry), 4);
  put(out, entry.zip64 ? 0xffffffff : stored, 4);
  put(out, entry.zip64 ? 0xffffffff : bytes, 4);
  put(out, name_bytes, 2);
}

void put_entry(std::string& directory, const ZipEntry& entry, uint64_t stored, uint64_t bytes, uint64_t header) {
  put(directory, 0x02014b50, 4);
  put(directory, 3 << 8 | 20, 2);
  put_common(directory, entry, stored, bytes, entry.name.size());
  put(directory, entry.zip64 ? 28 : 0, 2);
  put(directory, 0, 6);  // comment, volume, internal attributes
  put(directory, entry.attributes, 4);
  put(directory, entry.zip64 ? 0xffffffff : header, 4);
  directory += entry.name;
  if (!entry.zip64) return;
  put(directory, 1, 2);
  put(directory, 24, 2);
  put(directory, bytes, 8);
  put(directory, stored, 8);
  put(directory, header, 8);
}

void put_end64(std::string& out, uint64_t members, uint64_t directory, uint64_t directory_bytes) {
  const uint64_t at = out.size();
  put(out, 0x06064b50, 4);
  put(out, 44, 8);
  put(out, 45 << 16 | 45, 4);
  put(out, 0, 8);
  put(out, members, 8);
  put(out, members, 8);
  put(out, directory_bytes, 8);
  put(out, directory, 8);
  put(out, 0x07064b50, 4);
  put(out, 0, 4);
  put(out, at, 8);
  put(out, 1, 4);
}

}  // namespace

std::string vector_path(const std::string& name) { return ESPALIER_TESTS "/unit/vit/data/" + name; }

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

std::string plain_jpeg(uint32_t width, uint32_t height, uint8_t grey) {
  const std::vector<uint8_t> file = encode_jpeg({width, height, std::vector<uint8_t>(width * height * 3, grey)}, 90);
  return {file.begin(), file.end()};
}

void put_file(const std::string& path, std::string_view bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  write_file(path, bytes);
}

std::string make_zip(const std::vector<ZipEntry>& entries, int64_t count, bool zip64) {
  std::string out, directory;
  for (const ZipEntry& entry : entries) {
    const std::string stored = entry.deflate ? deflated(entry.data) : entry.data;
    const uint64_t bytes = entry.declared_bytes >= 0 ? static_cast<uint64_t>(entry.declared_bytes) : entry.data.size();
    const std::string& name = entry.local_name.empty() ? entry.name : entry.local_name;
    put_entry(directory, entry, stored.size(), bytes, entry.header >= 0 ? entry.header : out.size());
    put(out, 0x04034b50, 4);
    put_common(out, entry, stored.size(), bytes, name.size());
    put(out, 0, 2);
    out += name + stored;
  }
  const uint64_t members = count >= 0 ? static_cast<uint64_t>(count) : entries.size();
  const uint64_t at = out.size();
  out += directory;
  if (zip64) put_end64(out, members, at, directory.size());
  put(out, 0x06054b50, 4);
  put(out, 0, 4);
  put(out, zip64 ? 0xffff : members, 2);
  put(out, zip64 ? 0xffff : members, 2);
  put(out, zip64 ? 0xffffffff : directory.size(), 4);
  put(out, zip64 ? 0xffffffff : at, 4);
  put(out, 0, 2);
  return out;
}

DatasetRig::DatasetRig(BeansDataset::Options options, uint64_t seed) {
  run_.struct_size = sizeof run_;
  run_.world = 1;
  run_.seed = seed;
  c_host_ = {sizeof c_host_, 0, this, &service};
  config_.struct_size = sizeof config_;
  config_.run = &run_;
  host_ = std::make_unique<Host>(c_host_, config_);
  dataset_ = std::make_unique<BeansDataset>(*host_, options);
}

const void* DatasetRig::service(void*, const char* id) {
  static const esp_log_v1 log = {sizeof(esp_log_v1), 0, &log_line};
  return std::strcmp(id, ESP_LOG_ID) == 0 ? &log : nullptr;
}

void DatasetRig::log_line(void* ctx, uint32_t, const char* text, uint64_t bytes) {
  static_cast<DatasetRig*>(ctx)->log_.emplace_back(text, bytes);
}

void DatasetRig::prepare(int64_t side, std::vector<uint32_t> splits, uint64_t limit, uint32_t workers) {
  side_ = side;
  const std::vector<int64_t> shape = {side, side, 3};
  prepare_fields({field_of("pixels", ESP_U8, shape), field_of("flip", ESP_U8, {}), field_of("label", ESP_I64, {})},
                 std::move(splits), limit, workers);
}

void DatasetRig::prepare_fields(const std::vector<esp_field>& fields, std::vector<uint32_t> splits, uint64_t limit,
                                uint32_t workers) {
  std::vector<const esp_field*> pointers;
  for (const esp_field& field : fields) pointers.push_back(&field);
  const std::vector<uint64_t> limits(splits.size(), limit);
  esp_dataset_run run{};
  run.struct_size = sizeof run;
  run.n_fields = static_cast<uint32_t>(fields.size());
  run.fields = pointers.data();
  run.n_splits = static_cast<uint32_t>(splits.size());
  run.workers = workers;
  run.splits = splits.data();
  run.limits = limits.data();
  dataset_->prepare(run);
}

FetchedBatch DatasetRig::fetch(uint32_t split, uint64_t epoch, const std::vector<uint64_t>& indices, uint32_t flags) {
  FetchedBatch batch;
  batch.pixels.resize(indices.size() * static_cast<size_t>(side_ * side_ * 3));
  batch.flips.resize(indices.size(), 77);
  batch.labels.resize(indices.size(), -1);
  void* const out[] = {batch.pixels.data(), batch.flips.data(), batch.labels.data()};
  dataset_->fetch(split, epoch, {indices.data(), indices.size()}, flags, out);
  return batch;
}

esp_field field_of(const char* name, esp_dtype dtype, const std::vector<int64_t>& shape) {
  esp_field field{};
  field.struct_size = sizeof field;
  field.dtype = dtype;
  field.name = name;
  field.shape = shape.data();
  field.ndim = static_cast<uint32_t>(shape.size());
  return field;
}

}  // namespace esp::vit::test
