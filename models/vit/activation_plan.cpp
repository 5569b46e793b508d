#include "activation_plan.hpp"

#include <algorithm>

namespace esp::vit {
namespace {

// Tensors of [rows, tokens, hidden] that a block keeps: input, its norm, query, key, value, attention, the sum after it
// and its norm.
constexpr uint64_t kWideTensors = 8;
constexpr uint64_t kMlpTensors = 2;  // before and after GELU
constexpr uint64_t kStatistics = 4;  // mean and deviation of two norms, fp32, per token

// What the backward of a block takes beyond what the block has kept and the gradient that flows, of which it frees one
// tensor after another. Products that are made in a wider type have a copy of what they read and write. Gradients that
// are not written where they belong lie beside it: with many tokens that of one weight tells, behind the first product;
// with few it is those of all weights, near the end, when the inner tensors are gone.
uint64_t backward_peak(uint64_t hidden, uint64_t inner, uint64_t tokens, const ElementBytes& element, bool in_place) {
  const uint64_t copies = (hidden * inner + tokens * (inner + hidden)) * element.copied;
  if (in_place) return copies;
  const uint64_t weights = 4 * hidden * hidden + 2 * hidden * inner;
  const uint64_t freed = kMlpTensors * tokens * inner + tokens * hidden;
  return copies + std::max(hidden * inner, weights - std::min(weights, freed)) * element.kept;
}

}  // namespace

ActivationSizes plan_activations(const ViTConfig& config, uint64_t rows, const ElementBytes& element_bytes,
                                 uint32_t first_trainable, bool gradients_in_place) {
  const uint64_t element = element_bytes.kept;
  const auto hidden = static_cast<uint64_t>(config.hidden_size);
  const auto inner = static_cast<uint64_t>(config.intermediate_size);
  const auto heads = static_cast<uint64_t>(config.num_attention_heads);
  const auto classes = static_cast<uint64_t>(config.num_labels());
  const auto patch_values = static_cast<uint64_t>(config.patch_values());
  const auto layers = static_cast<uint32_t>(config.num_hidden_layers);
  const uint64_t tokens = rows * static_cast<uint64_t>(config.tokens());

  const uint64_t embedding = (tokens - rows) * patch_values * element;
  const uint64_t block_input = tokens * hidden * element;
  const uint64_t block = kWideTensors * block_input + kMlpTensors * tokens * inner * element +
                         tokens * (kStatistics + heads) * sizeof(float);
  const uint64_t head = block_input + rows * (2 * hidden + classes) * element;

  ActivationSizes sizes;
  for (uint32_t level = 0; level < kRecomputeLevels; ++level) {
    for (uint32_t unit = 0; unit < layers + 2; ++unit) {
      const bool recomputed = static_cast<Recompute>(level) == Recompute::kBlock;
      const uint64_t bytes = unit == 0 ? embedding : unit == layers + 1 ? head : recomputed ? block_input : block;
      sizes.kept.push_back(unit < first_trainable ? 0 : bytes);
    }
  }
  const uint64_t backward = backward_peak(hidden, inner, tokens, element_bytes, gradients_in_place);
  // A block that is recomputed lies there again as a whole, but for its input, when its backward begins.
  sizes.workspace = {block_input + backward, block - block_input + backward};
  return sizes;
}

std::vector<double> unit_flops(const ViTConfig& config) {
  const auto hidden = static_cast<double>(config.hidden_size);
  const auto inner = static_cast<double>(config.intermediate_size);
  const auto tokens = static_cast<double>(config.tokens());
  std::vector<double> flops;
  flops.push_back(2 * (tokens - 1) * static_cast<double>(config.patch_values()) * hidden);
  const double block = 8 * tokens * hidden * hidden + 4 * tokens * tokens * hidden + 4 * tokens * hidden * inner;
  flops.insert(flops.end(), static_cast<size_t>(config.num_hidden_layers), block);
  flops.push_back(2 * hidden * static_cast<double>(config.num_labels()));
  return flops;
}

}  // namespace esp::vit
