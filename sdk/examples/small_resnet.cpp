// A small residual network on LibTorch: stem, blocks, head, each a unit. No batch norm: a unit's output depends on its
// own sample alone, so padding rows and micro-batches change nothing.
#include <cmath>
#include <espalier/model.hpp>
#include <espalier/torch_model.hpp>
#include <random>

struct Options {
  int64_t image_size = 32, width = 16, depth = 2;
  static auto schema() {
    return esp::options(esp::option("image_size", &Options::image_size).range(4, 1024).doc("pixels along a side"),
                        esp::option("width", &Options::width).range(1, 4096).doc("channels").sweepable(),
                        esp::option("depth", &Options::depth).range(0, 64).doc("residual blocks").sweepable());
  }
};

// What the host and strategies are told: per unit, weights and biases in turn.
class Network : public esp::ModelDescription {
 public:
  Network(const esp::Host& host, const Options& o) {
    const auto classes = static_cast<uint32_t>(host.classes().size());
    const int64_t places = ((o.image_size + 1) / 2) * ((o.image_size + 1) / 2);
    add("stem", {{"conv", {o.width, 3, 3, 3}}}, places, places * o.width * 2);
    for (int64_t i = 0; i < o.depth; ++i) {
      add("blocks." + std::to_string(i), {{"conv1", {o.width, o.width, 3, 3}}, {"conv2", {o.width, o.width, 3, 3}}},
          places, places * o.width * 4);
    }
    add("head", {{"linear", {classes, o.width}}}, 1, classes + places * o.width);
    add_input("pixels", ESP_U8, {o.image_size, o.image_size, 3});
    add_input("label", ESP_I64, {});
    for (const char* level : {"none", "block"}) add_recompute(level);
    for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) add_precision(precision);
    set_classes(classes);
    set_name("small-resnet " + std::to_string(o.width) + "x" + std::to_string(o.depth));
  }
  const std::vector<int64_t>& kept() const { return kept_; }  // numbers of one sample that backward needs, by unit

 private:
  using Layer = std::pair<const char*, std::vector<int64_t>>;
  void add(const std::string& name, const std::vector<Layer>& layers, int64_t places, int64_t kept) {
    std::vector<uint32_t> uses;
    double flops = 0;
    for (const auto& [layer, shape] : layers) {
      uses.push_back(add_param(name + "." + layer + ".weight", shape, ESP_PARAM_TRAINABLE));
      flops += 2.0 * static_cast<double>(param(uses.back()).numel) * static_cast<double>(places);
      uses.push_back(add_param(name + "." + layer + ".bias", {shape[0]}, ESP_PARAM_TRAINABLE | ESP_PARAM_NO_DECAY));
    }
    add_unit(name, uses, flops);
    kept_.push_back(kept);
  }
  std::vector<int64_t> kept_;
};

class SmallResnet : Network, public esp::TorchModel {
 public:
  using Options = ::Options;
  SmallResnet(esp::Host& host, const Options& options)
      : Network(host, options),
        TorchModel(desc(), esp::torch_device(host.run().device_kind, host.run().device_index)) {}

  const esp_model_desc& describe() { return desc(); }

  esp_model_need plan(const esp_model_run& run) {
    activations_.clear();
    for (int level = 0; level < 2; ++level) {
      for (const int64_t numbers : kept()) {
        const auto bytes = static_cast<uint64_t>(numbers) * run.micro_rows * ESP_DTYPE_BYTES(run.compute_t);
        activations_.push_back(level == 0 ? bytes : bytes / 2);
      }
    }
    esp_model_need need{};
    need.activation_bytes = activations_.data();
    need.workspace_bytes = activations_[0];
    return need;
  }

  // Each element from its own seed, so that the values do not depend on who initialises which part.
  void init_range(uint32_t id, uint64_t seed, uint64_t lo, uint64_t hi, float* out) {
    const uint64_t fan_in = param(id).ndim > 1 ? param(id).numel / static_cast<uint64_t>(param(id).shape[0]) : 0;
    for (uint64_t i = lo; i < hi; ++i) {
      std::mt19937_64 random(seed * 0x9e3779b97f4a7c15u + (uint64_t{id} << 40) + i);
      const double unit = static_cast<double>(random() >> 11) * 0x1p-53;
      out[i - lo] =
          fan_in == 0 ? 0.0f : static_cast<float>((2 * unit - 1) * std::sqrt(3.0 / static_cast<double>(fan_in)));
    }
  }

  void save(const char*, esp::Slice<const float* const>, esp_dtype) {
    esp::fail(ESP_E_UNSUPPORTED, "small-resnet writes no folder of weights: set train.save = false");
  }

 protected:
  at::Tensor forward(uint32_t index, const at::Tensor& x, const Inputs& inputs) override {
    const uint32_t* use = unit(index).uses;
    const auto conv = [&](const at::Tensor& in, int layer, int64_t stride) {
      return at::conv2d(in, parameter(use[2 * layer]), parameter(use[2 * layer + 1]), stride, 1);
    };
    if (index == 0) {
      const at::Tensor pixels = inputs[0].permute({0, 3, 1, 2}).to(esp::torch_dtype(run().compute_t));
      return at::relu(conv(pixels.div(127.5).sub(1), 0, 2));
    }
    if (index + 1 == n_units()) return at::linear(x.mean({2, 3}), parameter(use[0]), parameter(use[1]));
    return x + conv(at::relu(conv(x, 0, 1)), 1, 1);
  }

  at::Tensor loss_gradient(const esp_step& step, const at::Tensor& output, const Inputs& inputs) override {
    return esp::cross_entropy(run(), step, output, inputs[1]);
  }

 private:
  std::vector<uint64_t> activations_;
};

ESP_PLUGIN("org.espalier.examples.resnet", "1.0.0",
           esp::model<SmallResnet>("small-resnet", "a residual network of 3x3 convolutions",
                                   ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_INFER));
