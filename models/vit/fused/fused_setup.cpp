#include "fused_setup.hpp"

namespace esp::vit::fused {
namespace {

static_assert(kNoBias == kNone);

AffineIds ids_of(const Affine& affine) { return {affine.weight, affine.bias}; }

}  // namespace

ModelShape shape_of(const ViTConfig& config) {
  ModelShape shape;
  shape.hidden = static_cast<int32_t>(config.hidden_size);
  shape.layers = static_cast<int32_t>(config.num_hidden_layers);
  shape.heads = static_cast<int32_t>(config.num_attention_heads);
  shape.inner = static_cast<int32_t>(config.intermediate_size);
  shape.side = static_cast<int32_t>(config.image_size);
  shape.patch = static_cast<int32_t>(config.patch_size);
  shape.classes = static_cast<int32_t>(config.num_labels());
  shape.qkv_bias = config.qkv_bias ? 1 : 0;
  shape.eps = static_cast<float>(config.layer_norm_eps);
  return shape;
}

Setup make_setup(const ViTConfig& config, const ViTParameters& parameters, const PixelScaling& scaling,
                 std::vector<BlockParameters>& blocks) {
  Setup setup{};
  setup.shape = shape_of(config);
  for (size_t i = 0; i < 3; ++i) {
    setup.pixel_scale[i] = static_cast<float>(scaling.factor / scaling.std[i]);
    setup.pixel_shift[i] = static_cast<float>(-scaling.mean[i] / scaling.std[i]);
  }
  setup.cls = parameters.embedding().cls;
  setup.position = parameters.embedding().position;
  setup.projection = ids_of(parameters.embedding().projection);
  blocks.clear();
  for (uint32_t i = 0; i < static_cast<uint32_t>(config.num_hidden_layers); ++i) {
    const BlockIds& block = parameters.block(i);
    blocks.push_back({ids_of(block.norm_before), ids_of(block.query), ids_of(block.key), ids_of(block.value),
                      ids_of(block.attention_out), ids_of(block.norm_after), ids_of(block.mlp_in),
                      ids_of(block.mlp_out)});
  }
  setup.blocks = blocks.data();
  setup.norm = ids_of(parameters.head().norm);
  setup.classifier = ids_of(parameters.head().classifier);
  setup.n_params = static_cast<uint32_t>(parameters.all().size());
  return setup;
}

}  // namespace esp::vit::fused
