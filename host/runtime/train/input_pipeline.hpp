// From a data set to the model's inputs: samples are fetched by a thread of its own while the step before runs, and
// copied to device memory at fixed addresses when their step starts. A GPU gets them over PCIe on a stream of its own
// meanwhile, so that only a copy inside its memory is left to the step.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/device/device.hpp"
#include "runtime/train/component_instance.hpp"
#include "runtime/train/input_buffers.hpp"

namespace esp::runtime {

// The samples of one micro-batch of this rank, at most `rows` of them; the rest of the rows is padding.
struct MicroRequest {
  std::vector<uint64_t> indices;
};

struct StepRequest {
  uint32_t split = 0;
  uint64_t epoch = 0;
  bool evaluation = false;  // no augmentation
  std::vector<MicroRequest> micros;
};

class InputPipeline {
 public:
  // fields: what the model wants (esp_model_desc.inputs); they and the data set must outlive this. n_micro and rows:
  // the largest request. `valid` on the device gets the number of samples of each micro-batch.
  InputPipeline(Dataset& dataset, std::span<const esp_field* const> fields, uint32_t n_micro, uint32_t rows,
                Device& device);
  ~InputPipeline();
  InputPipeline(const InputPipeline&) = delete;
  InputPipeline& operator=(const InputPipeline&) = delete;

  // Starts fetching; at most one request is under way and one is waiting to be taken. [main]
  void request(StepRequest step);
  // Waits for the requested samples and enqueues their copies, which the compute stream has before what comes next;
  // returns the seconds waited. [main]
  double take();

  // Device addresses, fixed for the run.
  const uint32_t* valid() const { return buffers_.device().valid; }
  const std::vector<const esp_tensor*>& tensors(uint32_t micro) const { return buffers_.tensors(micro); }
  // Labels of the request taken last, by micro-batch and row, on the host. Empty when the model wants no "label".
  const std::vector<std::vector<int64_t>>& labels() const { return taken_labels_; }

 private:
  void run();
  void fetch(const StepRequest& step, InputStage& stage);
  // The filled part of one field of one micro-batch.
  struct Piece {
    uint32_t micro;
    size_t field;
    uint64_t bytes;
  };
  void for_each_piece(const InputStage& stage, const std::function<void(const Piece&)>& visit) const;
  void copy(const InputStage& stage, Stream& stream, const InputSet& to, const InputSet& from);
  void enqueue_copies(InputStage& stage);
  void keep_labels(const InputStage& stage);

  Dataset& dataset_;
  Device& device_;
  InputBuffers buffers_;
  std::unique_ptr<Stream> arrivals_;  // of the landing; NULL where there is none
  std::unique_ptr<Event> left_;       // the landing may be overwritten
  int current_ = 0;  // stage of the request under way; two alternate, so that a fetch never writes what a copy reads
  std::vector<std::vector<int64_t>> taken_labels_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<StepRequest> requested_;
  bool busy_ = false, stop_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace esp::runtime
