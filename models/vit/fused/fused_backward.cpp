#include "fused_executor.hpp"

namespace esp::vit::fused {

void FusedExecutor::backward_unit(const esp_step& step, uint32_t unit) {
  enter(step);
  const int index = static_cast<int>(unit);
  if (index >= first_trainable_) {
    const bool aside = weight_stream_ != stream_;
    // This unit takes the places of the second next above.
    if (aside && index + 2 < units()) {
      check(cudaStreamWaitEvent(stream_, weights_done_[(index + 2) % 3]), "waiting for an event");
    }
    if (index == 0) weight_stream_ = stream_;  // nothing goes on beside it
    if (index == units() - 1) {
      head_backward();
    } else if (index != 0) {
      block_backward(index - 1);
    } else {
      embedding_backward();
    }
    weights_may_follow();
    flush_sums();
    const auto grads = reinterpret_cast<cudaStream_t>(step.grads);
    order(weight_stream_, grads);
    if (aside) {
      check(cudaEventRecord(weights_done_[index % 3], grads), "recording an event");
      // What is enqueued next, a micro-batch or another step, may overwrite all that weight gradients read.
      if (index == first_trainable_) order(grads, stream_);
    }
  }
  if (unit == 0) in_flight_.reset();
}

void FusedExecutor::head_backward() {
  const HeadSlots& head = training_.head;
  const int c = shape_.hidden, classes = shape_.classes;
  const int partials = norm_backward_partials(processors_);
  if (wants(setup_.classifier.weight) || wants(setup_.classifier.bias)) {
    weights_may_follow();
    classifier_gradient(weight_launch(), rows(), c, classes, head.dlogits, head.norm, scratch_.classifier);
    sum(setup_.classifier.weight, scratch_.classifier, 1, 0, classes * c);
    sum(setup_.classifier.bias, scratch_.classifier + static_cast<int64_t>(classes) * c, 1, 0, classes);
  }
  classify_backward(launch(), rows(), c, classes, head.dlogits, parameter(setup_.classifier.weight),
                    scratch_.class_branch);
  norm_backward(launch(), {rows(), c, scratch_.class_branch, head.input, reinterpret_cast<float2*>(head.moments),
                           parameter(setup_.norm.weight), nullptr, 1, scratch_.class_flow, scratch_.head_partials});
  sum(setup_.norm.weight, scratch_.head_partials, partials, 3 * c, c);
  sum(setup_.norm.bias, scratch_.head_partials + c, partials, 3 * c, c);
}

void FusedExecutor::block_backward(int layer) {
  const BlockSlots& slots = training_.blocks[static_cast<size_t>(layer)];
  const bool last = is_last(layer);
  if (keep_ == Keep::kInputs && !last) {
    block_forward(layer, training_.inputs[static_cast<size_t>(layer)], nullptr, false);
    gelu_forward(launch(), static_cast<int64_t>(all_rows()) * shape_.inner, slots.inner, slots.gelu);
  }
  // The sum over rows of the gradient that arrives here was left by the norm above.
  const float* above = last ? scratch_.head_partials : scratch_.norm1_partials[of_three(layer + 1)];
  sum(blocks_[static_cast<size_t>(layer)].outer.bias, above + 2 * shape_.hidden, norm_backward_partials(processors_),
      3 * shape_.hidden, shape_.hidden);
  if (last) {
    mlp_backward(layer, slots, {rows(), scratch_.class_flow, scratch_.class_middle, scratch_.class_branch});
    class_backward_branch(layer, slots);
  } else {
    mlp_backward(layer, slots,
                 {all_rows(), scratch_.flow[of_three(layer)], scratch_.middle[of_two(layer)], scratch_.branch});
    attention_backward_branch(layer, slots);
  }
}

void FusedExecutor::mlp_backward(int layer, const BlockSlots& slots, const MlpFlow& flow) {
  const BlockParameters& ids = blocks_[static_cast<size_t>(layer)];
  const int64_t inner = shape_.inner, m = flow.rows;
  // With two wide places for a block, the gradient takes the place of GELU's values.
  const bool halves = keep_ == Keep::kInputs && !is_last(layer);
  void* wide = halves ? slots.gelu : scratch_.wide[of_two(layer)];
  float* gelu_sums = scratch_.gelu_partials[of_two(layer)];
  const int c = shape_.hidden, partials = norm_backward_partials(processors_);
  const bool own = is_last(layer) || keep_ == Keep::kAll || halves;  // GELU's values are still there
  if (halves) weight_gradient(ids.outer.weight, m, c, inner, flow.out, slots.gelu);
  MatmulOperands into_wide;
  into_wide.x = wide;
  into_wide.weight = parameter(ids.outer.weight);
  into_wide.y = flow.out;
  product(Product::kInput, m, c, inner, into_wide);
  gelu_backward(launch(), static_cast<int>(m), shape_.inner, slots.inner, wide, own ? nullptr : slots.gelu, gelu_sums);
  weights_may_follow();
  sum(ids.inner.bias, gelu_sums, gelu_backward_partials(processors_, static_cast<int>(m), shape_.inner), shape_.inner,
      shape_.inner);
  if (!halves) weight_gradient(ids.outer.weight, m, c, inner, flow.out, slots.gelu);
  if (keep_ == Keep::kNoGeluNorm && !is_last(layer)) {
    norm_forward(launch(), static_cast<int>(m), c, c, shape_.eps, slots.middle, parameter(ids.norm2.weight),
                 parameter(ids.norm2.bias), slots.norm2, nullptr);
  }
  weight_gradient(ids.inner.weight, m, inner, c, wide, slots.norm2);
  MatmulOperands into_branch;
  into_branch.x = flow.branch;
  into_branch.weight = parameter(ids.inner.weight);
  into_branch.y = wide;
  product(Product::kInput, m, inner, c, into_branch);
  float* sums = scratch_.norm2_partials[of_two(layer)];
  norm_backward(launch(), {static_cast<int>(m), c, flow.branch, slots.middle, reinterpret_cast<float2*>(slots.moments2),
                           parameter(ids.norm2.weight), flow.out, 1, flow.middle, sums});
  sum(ids.norm2.weight, sums, partials, 3 * c, c);
  sum(ids.norm2.bias, sums + c, partials, 3 * c, c);
  sum(ids.attended.bias, sums + 2 * c, partials, 3 * c, c);
}

void FusedExecutor::attention_backward_branch(int layer, const BlockSlots& slots) {
  const BlockParameters& ids = blocks_[static_cast<size_t>(layer)];
  const void* x = training_.inputs[static_cast<size_t>(layer)];
  const int c = shape_.hidden, partials = norm_backward_partials(processors_);
  void* const middle = scratch_.middle[of_two(layer)];
  void* const dqkv = scratch_.qkv[of_two(layer)];
  float* const attention_sums = scratch_.attention_partials[of_two(layer)];
  float* const norm_sums = scratch_.norm1_partials[of_three(layer)];
  if (keep_ == Keep::kInputs) attend(layer, x, slots);
  weights_may_follow();
  weight_gradient(ids.attended.weight, all_rows(), c, c, middle, slots.attended);
  MatmulOperands of_attended;
  of_attended.x = scratch_.branch;
  of_attended.weight = parameter(ids.attended.weight);
  of_attended.y = middle;
  product(Product::kInput, all_rows(), c, c, of_attended);
  attention_backward(launch(), {rows(), tokens(), shape_.heads}, slots.qkv, slots.attended, slots.lse, scratch_.branch,
                     dqkv, attention_sums);
  weights_may_follow();
  sum(ids.query.bias, attention_sums, rows(), 2 * c, c);
  sum(ids.key.bias, nullptr, 0, 0, c);  // moves all scores of a softmax alike: no gradient
  sum(ids.value.bias, attention_sums + c, rows(), 2 * c, c);
  if (keep_ == Keep::kNoGeluNorm) {
    norm_forward(launch(), all_rows(), c, c, shape_.eps, x, parameter(ids.norm1.weight), parameter(ids.norm1.bias),
                 slots.norm1, nullptr);
  }
  qkv_gradient(ids, dqkv, slots.norm1);
  MatmulOperands of_norm;
  of_norm.x = scratch_.branch;
  of_norm.weight = packed(ids).weight;
  of_norm.y = dqkv;
  product(Product::kInput, all_rows(), 3 * c, c, of_norm);
  norm_backward(launch(), {all_rows(), c, scratch_.branch, x, reinterpret_cast<float2*>(slots.moments1),
                           parameter(ids.norm1.weight), middle, 1, scratch_.flow[of_three(layer - 1)], norm_sums});
  sum(ids.norm1.weight, norm_sums, partials, 3 * c, c);
  sum(ids.norm1.bias, norm_sums + c, partials, 3 * c, c);
}

void FusedExecutor::class_backward_branch(int layer, const BlockSlots& slots) {
  const BlockParameters& ids = blocks_[static_cast<size_t>(layer)];
  const void* x = training_.inputs[static_cast<size_t>(layer)];
  const int64_t c = shape_.hidden, image = tokens() * c;
  const int width = shape_.hidden, partials = norm_backward_partials(processors_);
  void* const dkv = scratch_.qkv[of_two(layer)];
  float* const attention_sums = scratch_.attention_partials[of_two(layer)];
  float* const norm_sums = scratch_.norm1_partials[of_three(layer)];
  weights_may_follow();
  weight_gradient(ids.attended.weight, rows(), c, c, scratch_.class_middle, slots.attended);
  MatmulOperands of_attended;
  of_attended.x = scratch_.class_branch;
  of_attended.weight = parameter(ids.attended.weight);
  of_attended.y = scratch_.class_middle;
  product(Product::kInput, rows(), c, c, of_attended);
  class_attention_backward(launch(), {rows(), tokens(), shape_.heads}, slots.query, slots.qkv, scratch_.class_branch,
                           scratch_.class_query, dkv, attention_sums);
  weights_may_follow();
  sum(ids.query.bias, attention_sums, rows(), 2 * width, width);
  sum(ids.key.bias, nullptr, 0, 0, width);
  sum(ids.value.bias, attention_sums + c, rows(), 2 * width, width);
  weight_gradient(ids.query.weight, rows(), c, c, scratch_.class_query, slots.norm1, 0, image);
  weight_gradient(ids.key.weight, all_rows(), c, c, dkv, slots.norm1, 2 * c);
  weight_gradient(ids.value.weight, all_rows(), c, c, static_cast<const char*>(dkv) + c * 2, slots.norm1, 2 * c);
  const Packed qkv = packed(ids);
  MatmulOperands of_norm;
  of_norm.x = scratch_.branch;
  of_norm.weight = qkv.weight + c * c * 2;
  of_norm.y = dkv;
  product(Product::kInput, all_rows(), 2 * c, c, of_norm);
  of_norm.weight = qkv.weight;
  of_norm.y = scratch_.class_query;
  of_norm.add = true;
  product(Product::kInput, rows(), c, c, of_norm, image);
  norm_backward(launch(), {all_rows(), width, scratch_.branch, x, reinterpret_cast<float2*>(slots.moments1),
                           parameter(ids.norm1.weight), scratch_.class_middle, tokens(),
                           scratch_.flow[of_three(layer - 1)], norm_sums});
  sum(ids.norm1.weight, norm_sums, partials, 3 * width, width);
  sum(ids.norm1.bias, norm_sums + width, partials, 3 * width, width);
}

void FusedExecutor::embedding_backward() {
  const int c = shape_.hidden;
  void* const flow = scratch_.flow[of_three(-1)];
  void* const patches = scratch_.wide[of_two(-1)];
  if (wants(setup_.projection.weight)) {
    gather_patches(launch(), {rows(), shape_.side, shape_.patch}, pixels_, inputs_.pixels, inputs_.flip, patches);
    weight_gradient(setup_.projection.weight, all_rows(), c, shape_.patch_values(), flow, patches);
  }
  sum_images(launch(), rows(), tokens(), c, flow, scratch_.positions);
  sum(setup_.position, scratch_.positions, 1, 0, tokens() * c);
  sum(setup_.cls, scratch_.positions, 1, 0, c);
  sum(setup_.projection.bias, scratch_.positions + c, tokens() - 1, c, c);
}

}  // namespace esp::vit::fused
