// ViT as readable LibTorch: the oracle for every faster executor. Same function as transformers'
// ViTForImageClassification.
#pragma once

#include <espalier/torch_model.hpp>

#include "../pixel_scaling.hpp"
#include "../vit_config.hpp"
#include "../vit_parameters.hpp"

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
  at::Tensor patches(const at::Tensor& pixels, const at::Tensor& flip) const;
  at::Tensor embedding(const Inputs& inputs) const;
  at::Tensor block(const BlockIds& ids, const at::Tensor& x) const;
  at::Tensor attention(const BlockIds& ids, const at::Tensor& x) const;
  at::Tensor head(const at::Tensor& x) const;
  at::Tensor linear(const Affine& ids, const at::Tensor& x) const;
  at::Tensor norm(const Affine& ids, const at::Tensor& x) const;

  const ViTConfig& config_;
  const ViTParameters& parameters_;
  const PixelScaling& scaling_;
};

}  // namespace esp::vit
