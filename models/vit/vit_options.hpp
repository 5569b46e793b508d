// What a user may set in the [model] table.
#pragma once

#include <cstdint>
#include <espalier/options.hpp>
#include <string>

namespace esp::vit {

// Numbers: 0 means not given.
struct ViTOptions {
  std::string size = "auto";
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t intermediate_size = 0;
  int64_t image_size = 0;
  int64_t patch_size = 0;
  double layer_norm_eps = 0;
  int64_t num_labels = 0;
  std::string weights;
  std::string executor = "auto";

  static auto schema() {
    using O = ViTOptions;
    return options(
        option("size", &O::size)
            .choices({"auto", "tiny", "small", "base", "large"})
            .sweepable()
            .affects_state()
            .doc("width and depth by name; auto: the weights', else base on CUDA and tiny on CPU"),
        option("hidden_size", &O::hidden_size).range(0, 65536).sweepable().affects_state().doc("width; 0: by size"),
        option("num_hidden_layers", &O::num_hidden_layers)
            .range(0, 1024)
            .sweepable()
            .affects_state()
            .doc("blocks; 0: by size"),
        option("num_attention_heads", &O::num_attention_heads)
            .range(0, 65536)
            .sweepable()
            .affects_state()
            .doc("heads; 0: by size, with an explicit hidden_size one for each 64"),
        option("intermediate_size", &O::intermediate_size)
            .range(0, 1 << 20)
            .sweepable()
            .affects_state()
            .doc("width inside the MLP; 0: by size, with an explicit hidden_size four times that"),
        option("image_size", &O::image_size)
            .range(0, 8192)
            .sweepable()
            .affects_state()
            .doc("pixels along a side; 0: the weights', else 224. Positions of weights are resized to it"),
        option("patch_size", &O::patch_size)
            .range(0, 1024)
            .sweepable()
            .affects_state()
            .doc("pixels along a patch's side; 0: the weights', else 16"),
        option("layer_norm_eps", &O::layer_norm_eps)
            .range(0, 1)
            .affects_state()
            .doc("added to the variance in layer norms; 0: the weights', else 1e-12"),
        option("num_labels", &O::num_labels)
            .range(0, 1000000)
            .affects_state()
            .doc("classes of the head; 0: the data's"),
        option("weights", &O::weights)
            .path_or_name()
            .doc("where to start from: a Hugging Face folder, a .safetensors file, or a hub id that is in the local "
                 "cache"),
        option("executor", &O::executor)
            .choices({"auto", "reference", "fused"})
            .sweepable()
            .doc("what computes; reference: LibTorch with autograd; fused: CUDA kernels of its own, in bf16 and fp16; "
                 "auto: fused where it can"));
  }
};

}  // namespace esp::vit
