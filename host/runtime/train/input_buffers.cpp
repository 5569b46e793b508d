#include "runtime/train/input_buffers.hpp"

#include <cstring>
#include <utility>

namespace esp::runtime {

InputBuffers::InputBuffers(std::span<const esp_field* const> fields, uint32_t n_micro, uint32_t rows, Device& device)
    : arena_(device.memory(), "inputs") {
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
  device_buffers_ = allocate(ESP_DEVICE, n_micro, rows);
  valid_ = static_cast<uint32_t*>(arena_.alloc(ESP_DEVICE, n_micro * sizeof(uint32_t), ESP_TAG_INPUT));
  if (device.kind() == ESP_CUDA) {
    landing_ = allocate(ESP_DEVICE, n_micro, rows);
    landed_valid_ = static_cast<uint32_t*>(arena_.alloc(ESP_DEVICE, n_micro * sizeof(uint32_t), ESP_TAG_INPUT));
  }
  for (InputStage& stage : stages_) {
    stage.buffers = allocate(ESP_PINNED, n_micro, rows);
    stage.valid = static_cast<uint32_t*>(arena_.alloc(ESP_PINNED, n_micro * sizeof(uint32_t), ESP_TAG_INPUT));
    stage.copied = device.create_event();
  }
  describe_tensors(fields, n_micro);
}

std::vector<std::vector<void*>> InputBuffers::allocate(uint32_t place, uint32_t n_micro, uint32_t rows) {
  std::vector<std::vector<void*>> all(n_micro);
  for (auto& micro : all) {
    for (const InputField& field : fields_) micro.push_back(arena_.alloc(place, field.row_bytes * rows, ESP_TAG_INPUT));
  }
  return all;
}

void InputBuffers::describe_tensors(std::span<const esp_field* const> fields, uint32_t n_micro) {
  for (uint32_t micro = 0; micro < n_micro; ++micro) {
    std::vector<esp_tensor> tensors;
    for (size_t f = 0; f < fields_.size(); ++f) {
      tensors.push_back({device_buffers_[micro][f], fields_[f].shape.data(), fields[f]->dtype, fields[f]->ndim + 1});
    }
    tensors_.push_back(std::move(tensors));
  }
  for (const auto& tensors : tensors_) {
    tensor_lists_.emplace_back();
    for (const esp_tensor& tensor : tensors) tensor_lists_.back().push_back(&tensor);
  }
}

}  // namespace esp::runtime
