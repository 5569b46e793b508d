#include "safetensors_header.hpp"

#include <algorithm>
#include <espalier/failure.hpp>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "files.hpp"
#include "strict_json.hpp"

namespace esp::vit {
namespace {

// Bytes of an element.
constexpr std::pair<std::string_view, uint64_t> kDtypes[] = {
    {"BOOL", 1},    {"U8", 1},      {"I8", 1},      {"I16", 2},         {"U16", 2},        {"F16", 2}, {"BF16", 2},
    {"I32", 4},     {"U32", 4},     {"F32", 4},     {"F64", 8},         {"I64", 8},        {"U64", 8}, {"C64", 8},
    {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}};

// Fills a header while the text is read, so that no tree of it is ever in memory.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(SafetensorsHeader& out, const std::string& origin) : out_(out), origin_(origin) {}

  bool null() override { refuse("a null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_integer(number_integer_t) override { refuse("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { refuse("a number that is not whole or too large"); }
  bool binary(binary_t&) override { refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) {
      tensor_.shape.push_back(value);
    } else if (place_ == Place::kOffsets && n_offsets_ < 2) {
      (n_offsets_++ == 0 ? tensor_.begin : tensor_.end) = value;
    } else {
      refuse("a number out of place");
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      out_.metadata[key_] = value;
    } else if (place_ == Place::kTensor && key_ == "dtype") {
      tensor_.dtype = value;
    } else {
      refuse("a text out of place");
    }
    return true;
  }

  bool key(string_t& value) override {
    if (place_ == Place::kRoot) {
      if (!names_.insert(value).second) fail(ESP_E_DATA, origin_, ": the header names ", shown(value), " twice");
      tensor_ = TensorEntry();
      tensor_.name = value;
      n_offsets_ = 0;
      keys_.clear();
    } else {
      if (!keys_.insert(value).second) refuse("a key twice");
      const bool known = value == "dtype" || value == "shape" || value == "data_offsets";
      if (place_ == Place::kTensor && !known) refuse("an unknown key");
    }
    key_ = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kOutside) {
      place_ = Place::kRoot;
    } else if (place_ == Place::kRoot) {
      place_ = key_ == "__metadata__" ? Place::kMetadata : Place::kTensor;
    } else {
      refuse("an object out of place");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) {
      if (keys_.size() != 3 || n_offsets_ != 2) refuse("not dtype, shape and two data_offsets");
      out_.tensors.push_back(std::move(tensor_));
    }
    place_ = place_ == Place::kRoot ? Place::kOutside : Place::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kTensor && key_ == "shape") {
      place_ = Place::kShape;
    } else if (place_ == Place::kTensor && key_ == "data_offsets") {
      place_ = Place::kOffsets;
    } else {
      refuse("an array out of place");
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    fail(ESP_E_DATA, origin_, ": the header is not valid JSON: ", parse_error_text(error));
  }

 private:
  enum class Place { kOutside, kRoot, kMetadata, kTensor, kShape, kOffsets };

  [[noreturn]] void refuse(const char* what) const {
    const std::string where = place_ == Place::kOutside || place_ == Place::kRoot
                                  ? "the header"
                                  : "the header's entry " + shown(place_ == Place::kMetadata ? key_ : tensor_.name);
    fail(ESP_E_DATA, origin_, ": ", where, " has ", what);
  }

  SafetensorsHeader& out_;
  const std::string origin_;
  Place place_ = Place::kOutside;
  std::string key_;
  TensorEntry tensor_;
  int n_offsets_ = 0;
  std::unordered_set<std::string> names_, keys_;
};

void check_size(TensorEntry& tensor, const std::string& origin) {
  const uint64_t element = dtype_bytes(tensor.dtype);
  if (element == 0) {
    fail(ESP_E_DATA, origin, ": ", shown(tensor.name), " has the dtype ", shown(tensor.dtype), ", which is not read");
  }
  uint64_t bytes = 0;
  bool overflow = false;
  for (const uint64_t extent : tensor.shape) overflow |= __builtin_mul_overflow(tensor.numel, extent, &tensor.numel);
  overflow |= __builtin_mul_overflow(tensor.numel, element, &bytes);
  if (overflow) fail(ESP_E_DATA, origin, ": the shape of ", shown(tensor.name), " overflows");
  if (tensor.begin > tensor.end || tensor.end - tensor.begin != bytes) {
    fail(ESP_E_DATA, origin, ": ", shown(tensor.name), " needs ", bytes,
         " bytes by shape and dtype, its data_offsets are ", tensor.begin, " and ", tensor.end);
  }
}

// Every byte of the data belongs to exactly one tensor.
void check_coverage(const std::vector<TensorEntry>& tensors, uint64_t data_bytes, const std::string& origin) {
  std::vector<const TensorEntry*> order;
  order.reserve(tensors.size());
  for (const TensorEntry& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t covered = 0;
  for (const TensorEntry* tensor : order) {
    if (tensor->begin != covered) {
      fail(ESP_E_DATA, origin, ": ", shown(tensor->name), " begins at byte ", tensor->begin, " of the data, where ",
           covered, " was expected: a hole or an overlap");
    }
    covered = tensor->end;
  }
  if (covered != data_bytes) {
    fail(ESP_E_DATA, origin, ": the header describes ", covered, " bytes of data, the file has ", data_bytes,
         "; it is damaged or was cut off");
  }
}

}  // namespace

uint64_t dtype_bytes(std::string_view dtype) {
  for (const auto& [name, bytes] : kDtypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes, const std::string& origin) {
  const std::string name = shown(origin);
  if (json.empty() || json.front() != '{') fail(ESP_E_DATA, name, ": the header does not begin with '{'");
  SafetensorsHeader header;
  HeaderReader reader(header, name);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  for (TensorEntry& tensor : header.tensors) check_size(tensor, name);
  check_coverage(header.tensors, data_bytes, name);
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  return header;
}

}  // namespace esp::vit
