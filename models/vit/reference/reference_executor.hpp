// ViT as readable LibTorch: the oracle for every faster executor. Same function as transformers'
// ViTForImageClassification.
#pragma once

#include <espalier/torch_model.hpp>
#include <functional>
#include <initializer_list>
#include <vector>

#include "../pixel_scaling.hpp"
#include "../vit_config.hpp"
#include "../vit_parameters.hpp"
#include "explicit_backward.hpp"

namespace esp::vit {

// Tensor shapes in comments: B rows, T tokens, H hidden size, N heads, P patch side, G patches along a side.
class ReferenceExecutor : public TorchModel {
 public:
  // All references must outlive this.
  ReferenceExecutor(const esp_model_desc& desc, at::Device device, const ViTConfig& config,
                    const ViTParameters& parameters, const PixelScaling& scaling);

  // Order of the model's inputs.
  enum Input : size_t { kPixels, kFlip, kLabel };

 protected:
  at::Tensor forward(uint32_t unit, const at::Tensor& input, const Inputs& inputs) override;
  at::Tensor loss_gradient(const esp_step& step, const at::Tensor& logits, const Inputs& inputs) override;
  bool recomputes(uint32_t level, uint32_t unit) const override;

 private:
  // Of affine maps of one input. biases is empty or as long as weights.
  struct MapIds {
    std::vector<uint32_t> weights, biases;
  };

  at::Tensor patches(const at::Tensor& pixels, const at::Tensor& flip) const;
  at::Tensor embedding(const Inputs& inputs);
  at::Tensor block(const BlockIds& ids, const at::Tensor& x);
  at::Tensor attention(const BlockIds& ids, const at::Tensor& x);
  at::Tensor head(const at::Tensor& x);
  at::Tensor norm(const Affine& ids, const at::Tensor& x) const;

  // affine_maps.cpp
  at::Tensor linear(const Affine& map, const at::Tensor& x);
  std::vector<at::Tensor> query_key_value(const BlockIds& block, const at::Tensor& x);
  std::vector<at::Tensor> maps(const MapIds& ids, const at::Tensor& x);
  at::Tensor mlp(const BlockIds& block, const at::Tensor& x, const at::Tensor& residual);
  static MapIds ids_of(std::initializer_list<Affine> maps);
  at::Tensor joined(const std::vector<uint32_t>& ids) const;
  at::Tensor matrix(const MapIds& ids, int64_t columns) const;
  at::Tensor affine(const MapIds& ids, const at::Tensor& x) const;
  ExplicitBackward::Tensors with_parameters(ExplicitBackward::Tensors inputs, const MapIds& ids) const;
  void give_gradients(const ExplicitBackward& node, size_t input, const std::vector<uint32_t>& ids,
                      ExplicitBackward::Tensors& of, const std::function<void(at::Tensor)>& write);
  void give_map_gradients(const ExplicitBackward& node, size_t input, const MapIds& maps, ExplicitBackward::Tensors& of,
                          const at::Tensor& gradient, const at::Tensor& x);

  const ViTConfig& config_;
  const ViTParameters& parameters_;
  const PixelScaling& scaling_;
};

}  // namespace esp::vit
