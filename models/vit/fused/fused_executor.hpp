// The step of a ViT, forward and backward written out, on memory that is laid out once. Everything is enqueued on the
// step's compute stream, but for weight gradients of small micro-batches: where step.grads is another stream, those of
// a block are computed there while the block below goes on. A step allocates nothing and waits for nothing, so it can
// be captured.
#pragma once

#include <espalier/host.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "fused_table.h"
#include "kernels.hpp"
#include "matmul.hpp"

namespace esp::vit::fused {

class FusedExecutor {
 public:
  explicit FusedExecutor(const Setup& setup);
  ~FusedExecutor();
  FusedExecutor(const FusedExecutor&) = delete;
  FusedExecutor& operator=(const FusedExecutor&) = delete;

  void prepare(const esp_model_run& run);
  void bind(Slice<const esp_bind> binds);
  void begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs);
  void forward_unit(const esp_step& step, uint32_t unit);
  void loss(const esp_step& step);
  void backward_unit(const esp_step& step, uint32_t unit);

 private:
  struct Gradient {
    void* data = nullptr;
    uint32_t mode = ESP_WRITE_EACH_PASS;
    bool fresh = true;
    uint64_t pass = 0;
  };
  // What the host gave for the micro-batch under way.
  struct Inputs {
    const uint8_t* pixels = nullptr;
    const uint8_t* flip = nullptr;
    const int64_t* labels = nullptr;
  };
  // Query, key and value as one matrix [3 C, C] and one vector [3 C].
  struct Packed {
    const char* weight;
    const char* bias;
  };
  class Memory;

  int units() const { return shape_.layers + 2; }
  bool is_last(int layer) const { return layer + 1 == shape_.layers; }
  // Of the step under way.
  int rows() const { return evaluating_ ? eval_rows_ : micro_rows_; }
  int tokens() const { return shape_.tokens(); }
  int all_rows() const { return rows() * tokens(); }
  Launch launch() const { return {stream_, half_, processors_}; }
  Launch weight_launch() const { return {weight_stream_, half_, processors_}; }
  const Activations& activations() const { return evaluating_ ? evaluation_ : training_; }

  void allocate(const esp_model_run& run);
  void plan_products();
  void plan_forward(int64_t images);
  void plan_backward(int64_t images);
  void enter(const esp_step& step);
  void order(cudaStream_t earlier, cudaStream_t later) const;
  // What weight gradients read has been enqueued.
  void weights_may_follow() const { order(stream_, weight_stream_); }

  const void* parameter(uint32_t id) const;
  bool wants(uint32_t id) const { return id != kNoBias && trainable_[id] && gradients_[id].data != nullptr; }
  // Whether the next write to the gradient adds; to be asked once per write.
  bool adds(uint32_t id);
  bool contiguous(uint32_t first, uint32_t second, uint32_t third, uint64_t elements) const;
  Packed packed(const BlockParameters& ids);

  void product(Product product, int64_t m, int64_t n, int64_t k, const MatmulOperands& operands, int64_t x_stride = 0,
               int64_t y_stride = 0);
  void linear(int64_t m, int64_t n, int64_t k, const void* x, const void* weight, const void* bias, void* y,
              int64_t x_stride = 0, const void* residual = nullptr);
  // dweight (+)= dy^T * x, where it is wanted.
  void weight_gradient(uint32_t id, int64_t m, int64_t n, int64_t k, const void* dy, const void* x,
                       int64_t y_stride = 0, int64_t x_stride = 0);
  void qkv_gradient(const BlockParameters& ids, const void* dqkv, const void* x);

  void embedding_forward(void* x);
  void block_forward(int layer, const void* x, void* y, bool whole);
  void first_norm(int layer, const void* x, const BlockSlots& slots);
  void attend(int layer, const void* x, const BlockSlots& slots);  // norm1, query, key, value and attention
  void attention_branch(int layer, const void* x, const BlockSlots& slots);
  void class_branch(int layer, const void* x, const BlockSlots& slots);
  void mlp_branch(int layer, const BlockSlots& slots, int64_t m, void* y, bool whole);
  void head_forward();

  void head_backward();
  void block_backward(int layer);
  // out: gradient of the block's output; middle: becomes that of the sum after attention, may be out; branch: scratch.
  struct MlpFlow {
    int64_t rows;
    void* out;
    void* middle;
    void* branch;
  };
  void mlp_backward(int layer, const BlockSlots& slots, const MlpFlow& flow);
  void attention_backward_branch(int layer, const BlockSlots& slots);
  void class_backward_branch(int layer, const BlockSlots& slots);
  void embedding_backward();

  // Collects the column sums of a unit; flush enqueues them.
  void sum(uint32_t id, const float* src, int sum_rows, int stride, int width);
  void flush_sums();

  // A block's places in the scratch memory, see there; layer -1: the embedding's.
  static size_t of_two(int layer) { return static_cast<size_t>(layer + 2) % 2; }
  static size_t of_three(int layer) { return static_cast<size_t>(layer + 3) % 3; }

  const ModelShape shape_;
  const PixelMap pixels_;
  const Setup setup_;  // its blocks pointer is not used: see blocks_
  const std::vector<BlockParameters> blocks_;
  esp_model_run run_{};
  Half half_ = Half::kBf16;
  Sum gradient_type_ = Sum::kHalf;
  Keep keep_ = Keep::kAll;
  int processors_ = 0;
  int micro_rows_ = 0, eval_rows_ = 0;
  std::vector<bool> trainable_;
  int first_trainable_ = 0;  // unit: no backward below it
  std::vector<const void*> parameters_;
  std::vector<Gradient> gradients_;

  std::unique_ptr<Memory> memory_;
  Activations training_, evaluation_;
  Scratch scratch_;
  std::unique_ptr<Matmuls> matmuls_;

  cudaStream_t stream_ = nullptr;
  cudaStream_t weight_stream_ = nullptr;  // of weight gradients; often stream_
  cudaEvent_t ordered_ = nullptr;
  cudaEvent_t weights_done_[3] = {};  // of units, in turns
  bool evaluating_ = false;
  std::optional<uint32_t> in_flight_;  // the micro-batch that is between its forward and the end of its backward
  Inputs inputs_;
  uint64_t pass_serial_ = 0, index_ = 0;
  uint32_t pass_ = 0;
  SumTask sums_[kMaxSumTasks];
  int n_sums_ = 0;
};

}  // namespace esp::vit::fused
