#include "reference_executor.hpp"

#include "../activation_plan.hpp"
#include "products.hpp"

namespace esp::vit {

ReferenceExecutor::ReferenceExecutor(const esp_model_desc& desc, at::Device device, const ViTConfig& config,
                                     const ViTParameters& parameters, const PixelScaling& scaling)
    : TorchModel(desc, device), config_(config), parameters_(parameters), scaling_(scaling) {}

at::Tensor ReferenceExecutor::forward(uint32_t unit, const at::Tensor& input, const Inputs& inputs) {
  if (unit == 0) return embedding(inputs);
  return unit + 1 == parameters_.n_units() ? head(input) : block(parameters_.block(unit - 1), input);
}

at::Tensor ReferenceExecutor::loss_gradient(const esp_step& step, const at::Tensor& logits, const Inputs& inputs) {
  return cross_entropy(run(), step, logits, inputs.at(kLabel));
}

bool ReferenceExecutor::recomputes(uint32_t level, uint32_t unit) const {
  const bool is_block = unit != 0 && unit + 1 != parameters_.n_units();
  return static_cast<Recompute>(level) == Recompute::kBlock && is_block;
}

// U8 [B, G*P, G*P, 3] to [B, G*G, 3*P*P], normalised; the order inside a patch is that of the projection's weight.
at::Tensor ReferenceExecutor::patches(const at::Tensor& pixels, const at::Tensor& flip) const {
  const int64_t rows = pixels.size(0);
  const int64_t grid = config_.grid();
  const int64_t side = config_.patch_size;
  const at::Tensor images = at::where(flip.ne(0).view({rows, 1, 1, 1}), pixels.flip({2}), pixels);
  const at::Tensor cut = images.view({rows, grid, side, grid, side, 3}).permute({0, 1, 3, 5, 2, 4});
  const at::ScalarType compute = torch_dtype(run().compute_t);
  const at::ScalarType wide = compute == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor values = cut.reshape({rows, grid * grid, 3, side * side}).to(wide).mul_(scaling_.factor);
  for (int64_t channel = 0; channel < 3; ++channel) {
    const auto i = static_cast<size_t>(channel);
    values.select(2, channel).sub_(scaling_.mean[i]).div_(scaling_.std[i]);
  }
  return values.to(compute).view({rows, grid * grid, 3 * side * side});
}

// [B, T, H]. The patches do not overlap, so the convolution of transformers is a matrix product.
at::Tensor ReferenceExecutor::embedding(const Inputs& inputs) {
  const EmbeddingIds& ids = parameters_.embedding();
  const at::Tensor x = patches(inputs.at(kPixels), inputs.at(kFlip));
  const at::Tensor projected = linear(ids.projection, x);
  const at::Tensor cls = parameter(ids.cls).expand({x.size(0), 1, config_.hidden_size});
  return at::cat({cls, projected}, 1) + parameter(ids.position);
}

at::Tensor ReferenceExecutor::block(const BlockIds& ids, const at::Tensor& x) {
  const at::Tensor attended = linear(ids.attention_out, attention(ids, norm(ids.norm_before, x))) + x;
  return mlp(ids, norm(ids.norm_after, attended), attended);
}

// [B, T, H] to [B, T, H], each head scaled by 1 / sqrt(H / N).
at::Tensor ReferenceExecutor::attention(const BlockIds& ids, const at::Tensor& x) {
  const int64_t rows = x.size(0);
  const int64_t tokens = x.size(1);
  const int64_t heads = config_.num_attention_heads;
  std::vector<at::Tensor> parts = query_key_value(ids, x);
  for (at::Tensor& part : parts) {
    part = part.view({rows, tokens, heads, config_.hidden_size / heads}).transpose(1, 2);
  }
  const at::Tensor mixed = attention_product(parts[0], parts[1], parts[2]);
  return mixed.transpose(1, 2).reshape({rows, tokens, config_.hidden_size});
}

// Logits [B, classes] from the class token alone.
at::Tensor ReferenceExecutor::head(const at::Tensor& x) {
  return linear(parameters_.head().classifier, norm(parameters_.head().norm, x.select(1, 0)));
}

at::Tensor ReferenceExecutor::norm(const Affine& ids, const at::Tensor& x) const {
  return at::layer_norm(x, {config_.hidden_size}, parameter(ids.weight), parameter(ids.bias), config_.layer_norm_eps);
}

}  // namespace esp::vit
