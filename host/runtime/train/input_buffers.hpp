// Memory of the model's inputs: fixed addresses on the device, and two sets of host buffers that fill them in turn; on
// a GPU by way of a landing, where the samples of the next step arrive while this one runs. All of them are laid out
// alike, each in one piece, so that what is full moves in one copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/device/device.hpp"

namespace esp::runtime {

struct InputField {
  uint64_t row_bytes = 0;
  std::vector<int64_t> shape;  // [rows, ...]
  bool is_label = false;
};

// Inputs of a step in one place, in one piece of memory that begins with `valid`.
struct InputSet {
  uint32_t* valid = nullptr;                // [micro] samples
  std::vector<std::vector<void*>> buffers;  // [micro][field]
};

// One set of host buffers.
struct InputStage {
  InputSet host;
  std::unique_ptr<Event> copied;
  uint32_t micros = 0;
};

class InputBuffers {
 public:
  // fields: what the model wants (esp_model_desc.inputs). n_micro and rows: the largest request.
  InputBuffers(std::span<const esp_field* const> fields, uint32_t n_micro, uint32_t rows, Device& device);

  const std::vector<InputField>& fields() const { return fields_; }
  InputStage& stage(int index) { return stages_[index]; }  // 0 or 1
  const InputSet& device() const { return device_; }
  const std::optional<InputSet>& landing() const { return landing_; }  // on the device, too
  // Of a whole set. full: the stage has all micro-batches with all their rows.
  uint64_t bytes() const { return bytes_; }
  bool full(const InputStage& stage) const;
  const std::vector<const esp_tensor*>& tensors(uint32_t micro) const { return tensor_lists_[micro]; }

 private:
  InputSet allocate(uint32_t place);
  void describe_tensors(std::span<const esp_field* const> fields);

  Arena arena_;
  const uint32_t n_micro_, rows_;
  uint64_t bytes_ = 0;
  std::vector<InputField> fields_;
  InputStage stages_[2];
  InputSet device_;
  std::optional<InputSet> landing_;
  std::vector<std::vector<esp_tensor>> tensors_;
  std::vector<std::vector<const esp_tensor*>> tensor_lists_;
};

}  // namespace esp::runtime
