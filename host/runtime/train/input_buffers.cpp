#include "runtime/train/input_buffers.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace esp::runtime {
namespace {

constexpr uint64_t kAlignment = 256;

}  // namespace

InputBuffers::InputBuffers(std::span<const esp_field* const> fields, uint32_t n_micro, uint32_t rows, Device& device)
    : arena_(device.memory(), "inputs"), n_micro_(n_micro), rows_(rows) {
  for (const esp_field* field : fields) {
    InputField mine;
    mine.row_bytes = ESP_DTYPE_BYTES(field->dtype);
    mine.shape.push_back(rows);
    for (uint32_t d = 0; d < field->ndim; ++d) {
      mine.shape.push_back(field->shape[d]);
      mine.row_bytes *= static_cast<uint64_t>(field->shape[d]);
    }
    mine.is_label = std::strcmp(field->name, "label") == 0 && field->dtype == ESP_I64 && field->ndim == 0;
    fields_.push_back(std::move(mine));
  }
  device_ = allocate(ESP_DEVICE);
  if (device.kind() == ESP_CUDA) landing_ = allocate(ESP_DEVICE);
  for (InputStage& stage : stages_) {
    stage.host = allocate(ESP_PINNED);
    stage.copied = device.create_event();
  }
  describe_tensors(fields);
}

InputSet InputBuffers::allocate(uint32_t place) {
  const auto aligned = [](uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; };
  bytes_ = aligned(n_micro_ * sizeof(uint32_t));
  std::vector<std::vector<uint64_t>> offsets(n_micro_);
  for (auto& of_micro : offsets) {
    for (const InputField& field : fields_) {
      of_micro.push_back(bytes_);
      bytes_ += aligned(field.row_bytes * rows_);
    }
  }
  char* const piece = static_cast<char*>(arena_.alloc(place, bytes_, ESP_TAG_INPUT));
  InputSet set{reinterpret_cast<uint32_t*>(piece), {}};
  for (const auto& of_micro : offsets) {
    set.buffers.emplace_back();
    for (const uint64_t offset : of_micro) set.buffers.back().push_back(piece + offset);
  }
  return set;
}

bool InputBuffers::full(const InputStage& stage) const {
  return stage.micros == n_micro_ &&
         std::all_of(stage.host.valid, stage.host.valid + n_micro_, [this](uint32_t valid) { return valid == rows_; });
}

void InputBuffers::describe_tensors(std::span<const esp_field* const> fields) {
  for (uint32_t micro = 0; micro < n_micro_; ++micro) {
    std::vector<esp_tensor> tensors;
    for (size_t f = 0; f < fields_.size(); ++f) {
      tensors.push_back({device_.buffers[micro][f], fields_[f].shape.data(), fields[f]->dtype, fields[f]->ndim + 1});
    }
    tensors_.push_back(std::move(tensors));
  }
  for (const auto& tensors : tensors_) {
    tensor_lists_.emplace_back();
    for (const esp_tensor& tensor : tensors) tensor_lists_.back().push_back(&tensor);
  }
}

}  // namespace esp::runtime
