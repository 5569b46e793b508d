#include "fused_executor.hpp"

namespace esp::vit::fused {

void FusedExecutor::forward_unit(const esp_step& step, uint32_t unit) {
  enter(step);
  const Activations& kept = activations();
  if (unit == 0) {
    embedding_forward(kept.inputs[0]);
  } else if (static_cast<int>(unit) == units() - 1) {
    head_forward();
  } else {
    const int layer = static_cast<int>(unit) - 1;
    void* y = is_last(layer) ? kept.head.input : kept.inputs[static_cast<size_t>(layer) + 1];
    block_forward(layer, kept.inputs[static_cast<size_t>(layer)], y, true);
  }
}

void FusedExecutor::linear(int64_t m, int64_t n, int64_t k, const void* x, const void* weight, const void* bias,
                           void* y, int64_t x_stride, const void* residual) {
  MatmulOperands operands;
  operands.x = x;
  operands.weight = weight;
  operands.bias = bias;
  operands.y = y;
  operands.residual = residual;
  product(Product::kForward, m, n, k, operands, x_stride);
}

void FusedExecutor::embedding_forward(void* x) {
  gather_patches(launch(), {rows(), shape_.side, shape_.patch}, pixels_, inputs_.pixels, inputs_.flip,
                 scratch_.wide[0]);
  linear(all_rows(), shape_.hidden, shape_.patch_values(), scratch_.wide[0], parameter(setup_.projection.weight),
         nullptr, x);
  embed(launch(), rows(), tokens(), shape_.hidden, parameter(setup_.position), parameter(setup_.cls),
        parameter(setup_.projection.bias), x);
}

// whole false: again for backward, as far as it needs it: up to the MLP's inner values.
void FusedExecutor::block_forward(int layer, const void* x, void* y, bool whole) {
  const BlockSlots& slots = activations().blocks[static_cast<size_t>(layer)];
  if (is_last(layer)) {
    first_norm(layer, x, slots);
    class_branch(layer, x, slots);
  } else {
    attention_branch(layer, x, slots);
  }
  mlp_branch(layer, slots, is_last(layer) ? rows() : all_rows(), y, whole);
}

void FusedExecutor::first_norm(int layer, const void* x, const BlockSlots& slots) {
  const AffineIds& ids = blocks_[static_cast<size_t>(layer)].norm1;
  norm_forward(launch(), all_rows(), shape_.hidden, shape_.hidden, shape_.eps, x, parameter(ids.weight),
               parameter(ids.bias), slots.norm1, reinterpret_cast<float2*>(slots.moments1));
}

void FusedExecutor::attend(int layer, const void* x, const BlockSlots& slots) {
  const int64_t c = shape_.hidden;
  first_norm(layer, x, slots);
  const Packed qkv = packed(blocks_[static_cast<size_t>(layer)]);
  linear(all_rows(), 3 * c, c, slots.norm1, qkv.weight, qkv.bias, slots.qkv);
  attention_forward(launch(), {rows(), tokens(), shape_.heads}, slots.qkv, slots.attended, slots.lse);
}

void FusedExecutor::attention_branch(int layer, const void* x, const BlockSlots& slots) {
  const BlockParameters& ids = blocks_[static_cast<size_t>(layer)];
  const int64_t c = shape_.hidden;
  attend(layer, x, slots);
  linear(all_rows(), c, c, slots.attended, parameter(ids.attended.weight), parameter(ids.attended.bias), slots.middle,
         0, x);
}

// Only the class token of the last block reaches the loss: its keys and values need all tokens, the rest that one.
void FusedExecutor::class_branch(int layer, const void* x, const BlockSlots& slots) {
  const BlockParameters& ids = blocks_[static_cast<size_t>(layer)];
  const int64_t c = shape_.hidden;
  const int64_t image = tokens() * c;  // elements from class token to class token
  const Packed qkv = packed(ids);
  linear(all_rows(), 2 * c, c, slots.norm1, qkv.weight + c * c * 2, qkv.bias == nullptr ? nullptr : qkv.bias + c * 2,
         slots.qkv);
  linear(rows(), c, c, slots.norm1, qkv.weight, qkv.bias, slots.query, image);
  class_attention_forward(launch(), {rows(), tokens(), shape_.heads}, slots.query, slots.qkv, slots.attended);
  const auto bytes = static_cast<size_t>(c) * 2;
  check(cudaMemcpy2DAsync(slots.middle, bytes, x, static_cast<size_t>(image) * 2, bytes, static_cast<size_t>(rows()),
                          cudaMemcpyDeviceToDevice, stream_),
        "copying class tokens");
  linear(rows(), c, c, slots.attended, parameter(ids.attended.weight), parameter(ids.attended.bias), slots.middle, 0,
         slots.middle);
}

void FusedExecutor::mlp_branch(int layer, const BlockSlots& slots, int64_t m, void* y, bool whole) {
  const BlockParameters& ids = blocks_[static_cast<size_t>(layer)];
  const int64_t c = shape_.hidden;
  norm_forward(launch(), static_cast<int>(m), shape_.hidden, c, shape_.eps, slots.middle, parameter(ids.norm2.weight),
               parameter(ids.norm2.bias), slots.norm2, reinterpret_cast<float2*>(slots.moments2));
  linear(m, shape_.inner, c, slots.norm2, parameter(ids.inner.weight), parameter(ids.inner.bias), slots.inner);
  if (!whole) return;
  gelu_forward(launch(), m * shape_.inner, slots.inner, slots.gelu);
  linear(m, c, shape_.inner, slots.gelu, parameter(ids.outer.weight), parameter(ids.outer.bias), y, 0, slots.middle);
}

void FusedExecutor::head_forward() {
  const HeadSlots& head = activations().head;
  norm_forward(launch(), rows(), shape_.hidden, shape_.hidden, shape_.eps, head.input, parameter(setup_.norm.weight),
               parameter(setup_.norm.bias), head.norm, reinterpret_cast<float2*>(head.moments));
  classify(launch(), rows(), shape_.hidden, shape_.classes, head.norm, parameter(setup_.classifier.weight),
           parameter(setup_.classifier.bias), head.logits);
}

}  // namespace esp::vit::fused
