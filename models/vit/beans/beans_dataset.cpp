#include "beans_dataset.hpp"

#include <algorithm>
#include <cstring>

#include "counter_random.hpp"
#include "data_error.hpp"

namespace esp::vit {
namespace {

constexpr int64_t kMaxSide = 8192;
constexpr uint64_t kFlipStream = 0x666c6970;  // "flip"
constexpr uint32_t kCriticalFlags = 0xffff0000u;

LeafCounts leaf_counts(const BeansDataset::Options& options) {
  return {options.synthetic_train, options.synthetic_validation, options.synthetic_test};
}

std::string shape_of(const esp_field& field) {
  std::string text = "[";
  for (uint32_t i = 0; i < field.ndim; ++i) text += (i ? ", " : "") + std::to_string(field.shape[i]);
  return text + "]";
}

[[noreturn]] void refuse(const esp_field& field, const char* offered) {
  fail(ESP_E_UNSUPPORTED, "the model wants field ", printable(field.name), " of ", ESP_DTYPE_BYTES(field.dtype),
       "-byte type ", field.dtype & 0xffu, " and shape ", shape_of(field), "; beans delivers it as ", offered);
}

}  // namespace

BeansDataset::BeansDataset(Host& host, const Options& options)
    : host_(host), options_(options), source_(open_source(options.path, leaf_counts(options))) {
  const Catalog& catalog = source_->catalog();
  description_.set_name(catalog.name);
  description_.set_fingerprint(catalog.fingerprint);
  for (const std::string& name : catalog.classes) description_.add_class(name);
  for (const Split& split : catalog.splits) description_.add_split(split.name, split.samples.size());
  for (const std::string& note : catalog.notes) description_.add_note(note);
}

const esp_dataset_desc& BeansDataset::describe() { return description_.desc(); }

void BeansDataset::accept_field(const esp_field& field) {
  const std::string name = field.name;
  const bool scalar = field.ndim == 0;
  if (name == "pixels") {
    const bool fits =
        field.dtype == ESP_U8 && field.ndim == 3 && field.shape[2] == 3 &&
        std::all_of(field.shape, field.shape + 2, [](int64_t side) { return side >= 1 && side <= kMaxSide; });
    if (!fits) refuse(field, "U8 [height, width, 3] with sides up to 8192");
    const ImageSize size{static_cast<uint32_t>(field.shape[0]), static_cast<uint32_t>(field.shape[1])};
    if (size_.bytes() != 0 && (size_.height != size.height || size_.width != size.width)) {
      fail(ESP_E_UNSUPPORTED, "the model wants field pixels in two sizes; beans delivers one");
    }
    size_ = size;
    fields_.push_back(Field::kPixels);
  } else if (name == "flip") {
    if (field.dtype != ESP_U8 || !scalar) refuse(field, "U8 []");
    fields_.push_back(Field::kFlip);
  } else if (name == "label") {
    if (field.dtype != ESP_I64 || !scalar) refuse(field, "I64 []");
    fields_.push_back(Field::kLabel);
  } else {
    fail(ESP_E_UNSUPPORTED, "the model wants field ", printable(name), "; beans delivers pixels, flip and label");
  }
}

uint64_t BeansDataset::samples_to_decode(uint32_t split, uint64_t limit) const {
  const std::vector<Split>& splits = source_->catalog().splits;
  if (split >= splits.size()) fail(ESP_E_INVALID, "split ", split, " was asked for; there are ", splits.size());
  const uint64_t count = splits[split].samples.size();
  return limit == 0 ? count : std::min(limit, count);
}

void BeansDataset::prepare(const esp_dataset_run& run) {
  fields_.clear();
  size_ = {};
  for (uint32_t i = 0; i < run.n_fields; ++i) accept_field(*run.fields[i]);
  decoded_.assign(source_->catalog().splits.size(), {});
  const auto on_damaged = [this](const std::string& line) {
    if (host_.run().rank == 0) host_.log.error(line);  // every rank decodes the same files
  };
  for (uint32_t i = 0; i < run.n_splits; ++i) {
    const uint32_t split = run.splits[i];
    const uint64_t count = samples_to_decode(split, run.limits[i]);
    const bool pixels = size_.bytes() != 0;
    decoded_[split] =
        pixels ? decode_split(*source_, split, count, size_, run.workers, on_damaged) : DecodedSplit{count, {}};
  }
}

void BeansDataset::fetch(uint32_t split, uint64_t epoch, Slice<const uint64_t> indices, uint32_t flags,
                         void* const* out) {
  if ((flags & kCriticalFlags & ~ESP_FETCH_EVAL) != 0) fail(ESP_E_UNSUPPORTED, "unknown fetch flags ", flags);
  if (split >= decoded_.size()) fail(ESP_E_STATE, "split ", split, " was not prepared");
  for (const uint64_t index : indices) {
    if (index >= decoded_[split].count) {
      fail(ESP_E_INVALID, "sample ", index, " of split ", split, " was asked for; ", decoded_[split].count,
           " were prepared");
    }
  }
  const bool eval = (flags & ESP_FETCH_EVAL) != 0;
  for (size_t f = 0; f < fields_.size(); ++f) fetch_field(fields_[f], split, epoch, indices, eval, out[f]);
}

void BeansDataset::fetch_field(Field field, uint32_t split, uint64_t epoch, Slice<const uint64_t> indices, bool eval,
                               void* out) const {
  const bool flip = options_.augment == "flip" && !eval;
  for (size_t i = 0; i < indices.size(); ++i) {
    switch (field) {
      case Field::kPixels:
        std::memcpy(static_cast<uint8_t*>(out) + i * size_.bytes(), &decoded_[split].pixels[indices[i] * size_.bytes()],
                    size_.bytes());
        break;
      case Field::kFlip:
        static_cast<uint8_t*>(out)[i] =
            flip ? static_cast<uint8_t>(random_bits(host_.run().seed ^ kFlipStream, epoch, indices[i]) & 1)
                 : uint8_t{0};
        break;
      case Field::kLabel:
        static_cast<int64_t*>(out)[i] = source_->catalog().splits[split].samples[indices[i]].label;
        break;
    }
  }
}

}  // namespace esp::vit
