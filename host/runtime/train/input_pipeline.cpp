#include "runtime/train/input_pipeline.hpp"

#include <chrono>
#include <cstring>

namespace esp::runtime {

InputPipeline::InputPipeline(Dataset& dataset, std::span<const esp_field* const> fields, uint32_t n_micro,
                             uint32_t rows, Device& device)
    : dataset_(dataset), device_(device), arena_(device.memory(), "inputs"), rows_(rows) {
  for (const esp_field* field : fields) {
    Field mine;
    mine.row_bytes = ESP_DTYPE_BYTES(field->dtype);
    mine.shape.push_back(rows);
    for (uint32_t d = 0; d < field->ndim; ++d) {
      mine.shape.push_back(field->shape[d]);
      mine.row_bytes *= static_cast<uint64_t>(field->shape[d]);
    }
    mine.is_label = std::strcmp(field->name, "label") == 0 && field->dtype == ESP_I64 && field->ndim == 0;
    fields_.push_back(std::move(mine));
  }
  const auto buffers = [&](uint32_t place) {
    std::vector<std::vector<void*>> all(n_micro);
    for (auto& micro : all) {
      for (const Field& field : fields_) micro.push_back(arena_.alloc(place, field.row_bytes * rows, ESP_TAG_INPUT));
    }
    return all;
  };
  device_buffers_ = buffers(ESP_DEVICE);
  valid_device_ = static_cast<uint32_t*>(arena_.alloc(ESP_DEVICE, n_micro * sizeof(uint32_t), ESP_TAG_INPUT));
  for (Stage& stage : stages_) {
    stage.buffers = buffers(ESP_PINNED);
    stage.valid = static_cast<uint32_t*>(arena_.alloc(ESP_PINNED, n_micro * sizeof(uint32_t), ESP_TAG_INPUT));
    stage.copied = device.create_event();
  }
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
  thread_ = std::thread([this] { run(); });
}

InputPipeline::~InputPipeline() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  for (Stage& stage : stages_) device_.synchronize(*stage.copied);
}

void InputPipeline::request(StepRequest step) {
  // Two requests ago this stage was copied from; that step has long ended, so this does not wait in practice.
  device_.synchronize(*stages_[current_].copied);
  {
    const std::lock_guard lock(mutex_);
    requested_ = std::make_unique<StepRequest>(std::move(step));
    busy_ = true;
  }
  changed_.notify_all();
}

void InputPipeline::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || requested_ != nullptr; });
    if (stop_) return;
    const std::unique_ptr<StepRequest> step = std::move(requested_);
    Stage& stage = stages_[current_];
    lock.unlock();
    std::exception_ptr failure;
    try {
      fetch(*step, stage);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = failure;
    busy_ = false;
    changed_.notify_all();
  }
}

void InputPipeline::fetch(const StepRequest& step, Stage& stage) {
  stage.micros = static_cast<uint32_t>(step.micros.size());
  for (uint32_t micro = 0; micro < stage.micros; ++micro) {
    const std::vector<uint64_t>& indices = step.micros[micro].indices;
    stage.valid[micro] = static_cast<uint32_t>(indices.size());
    if (indices.empty()) continue;
    dataset_.call("fetch", &esp_dataset_v1::fetch, step.split, step.epoch, indices.data(),
                  static_cast<uint32_t>(indices.size()), step.evaluation ? ESP_FETCH_EVAL : 0u,
                  stage.buffers[micro].data());
  }
}

double InputPipeline::take() {
  const auto begin = std::chrono::steady_clock::now();
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !busy_; });
    if (failure_) std::rethrow_exception(failure_);
  }
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;

  Stage& stage = stages_[current_];
  Stream& compute = device_.compute();
  device_.kernels().copy(compute, valid_device_, stage.valid, stage.micros * sizeof(uint32_t));
  taken_labels_.assign(stage.micros, {});
  for (uint32_t micro = 0; micro < stage.micros; ++micro) {
    for (size_t f = 0; f < fields_.size(); ++f) {
      const uint64_t bytes = fields_[f].row_bytes * stage.valid[micro];
      if (bytes > 0) device_.kernels().copy(compute, device_buffers_[micro][f], stage.buffers[micro][f], bytes);
      if (fields_[f].is_label) {
        const auto* labels = static_cast<const int64_t*>(stage.buffers[micro][f]);
        taken_labels_[micro].assign(labels, labels + stage.valid[micro]);
      }
    }
  }
  device_.record(*stage.copied, compute);
  current_ = 1 - current_;
  return waited.count();
}

}  // namespace esp::runtime
