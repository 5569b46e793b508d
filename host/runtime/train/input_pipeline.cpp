#include "runtime/train/input_pipeline.hpp"

#include <chrono>

namespace esp::runtime {

InputPipeline::InputPipeline(Dataset& dataset, std::span<const esp_field* const> fields, uint32_t n_micro,
                             uint32_t rows, Device& device)
    : dataset_(dataset), device_(device), buffers_(fields, n_micro, rows, device) {
  if (buffers_.landing()) {
    arrivals_ = device.create_stream(ESP_STREAM_DEVICE, 0, "inputs");
    left_ = device.create_event();
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
  for (int i : {0, 1}) device_.synchronize(*buffers_.stage(i).copied);
}

void InputPipeline::request(StepRequest step) {
  // Two requests ago this stage was copied from; that step has long ended, so this does not wait in practice.
  device_.synchronize(*buffers_.stage(current_).copied);
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
    InputStage& stage = buffers_.stage(current_);
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

void InputPipeline::fetch(const StepRequest& step, InputStage& stage) {
  stage.micros = static_cast<uint32_t>(step.micros.size());
  for (uint32_t micro = 0; micro < stage.micros; ++micro) {
    const std::vector<uint64_t>& indices = step.micros[micro].indices;
    stage.host.valid[micro] = static_cast<uint32_t>(indices.size());
    if (indices.empty()) continue;
    dataset_.call("fetch", &esp_dataset_v1::fetch, step.split, step.epoch, indices.data(),
                  static_cast<uint32_t>(indices.size()), step.evaluation ? ESP_FETCH_EVAL : 0u,
                  stage.host.buffers[micro].data());
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

  InputStage& stage = buffers_.stage(current_);
  enqueue_copies(stage);
  keep_labels(stage);
  current_ = 1 - current_;
  return waited.count();
}

void InputPipeline::for_each_piece(const InputStage& stage, const std::function<void(const Piece&)>& visit) const {
  const std::vector<InputField>& fields = buffers_.fields();
  for (uint32_t micro = 0; micro < stage.micros; ++micro) {
    for (size_t f = 0; f < fields.size(); ++f) {
      const uint64_t bytes = fields[f].row_bytes * stage.host.valid[micro];
      if (bytes > 0) visit({micro, f, bytes});
    }
  }
}

// What the stage has, of one set to another.
void InputPipeline::copy(const InputStage& stage, Stream& stream, const InputSet& to, const InputSet& from) {
  Kernels& kernels = device_.kernels();
  if (buffers_.full(stage)) return kernels.copy(stream, to.valid, from.valid, buffers_.bytes());
  kernels.copy(stream, to.valid, from.valid, stage.micros * sizeof(uint32_t));
  for_each_piece(stage, [&](const Piece& piece) {
    kernels.copy(stream, to.buffers[piece.micro][piece.field], from.buffers[piece.micro][piece.field], piece.bytes);
  });
}

void InputPipeline::enqueue_copies(InputStage& stage) {
  Stream& compute = device_.compute();
  if (!buffers_.landing()) {
    copy(stage, compute, buffers_.device(), stage.host);
    return device_.record(*stage.copied, compute);
  }
  device_.wait(*arrivals_, *left_);
  copy(stage, *arrivals_, *buffers_.landing(), stage.host);
  device_.record(*stage.copied, *arrivals_);
  device_.wait(compute, *stage.copied);
  copy(stage, compute, buffers_.device(), *buffers_.landing());
  device_.record(*left_, compute);
}

void InputPipeline::keep_labels(const InputStage& stage) {
  taken_labels_.assign(stage.micros, {});
  for_each_piece(stage, [&](const Piece& piece) {
    if (!buffers_.fields()[piece.field].is_label) return;
    const auto* labels = static_cast<const int64_t*>(stage.host.buffers[piece.micro][piece.field]);
    taken_labels_[piece.micro].assign(labels, labels + stage.host.valid[piece.micro]);
  });
}

}  // namespace esp::runtime
