// The model @id@. As written: a multi-layer perceptron over images. A unit is a link of the chain that strategies see;
// each of these reads one weight and one bias.
#include <cmath>
#include <espalier/model.hpp>
#include <espalier/torch_model.hpp>
#include <random>

struct Options {
  int64_t image_size = 32;
  int64_t width = 64;
  int64_t depth = 2;
  static auto schema() {
    return esp::options(
        esp::option("image_size", &Options::image_size).range(1, 1024).doc("pixels along a side"),
        esp::option("width", &Options::width).range(1, 65536).doc("features of a hidden layer").sweepable(),
        esp::option("depth", &Options::depth).range(1, 64).doc("hidden layers").sweepable());
  }
};

// What the host and strategies are told.
class Layers : public esp::ModelDescription {
 public:
  Layers(const esp::Host& host, const Options& options) {
    const auto classes = static_cast<uint32_t>(host.classes().size());
    int64_t in = options.image_size * options.image_size * 3;
    for (int64_t layer = 0; layer <= options.depth; ++layer) {
      const int64_t out = layer < options.depth ? options.width : classes;
      const std::string name = "layers." + std::to_string(layer);
      const uint32_t weight = add_param(name + ".weight", {out, in}, ESP_PARAM_TRAINABLE);
      const uint32_t bias = add_param(name + ".bias", {out}, ESP_PARAM_TRAINABLE | ESP_PARAM_NO_DECAY);
      add_unit(name, {weight, bias}, 2.0 * static_cast<double>(in * out));
      in = out;
    }
    add_input("pixels", ESP_U8, {options.image_size, options.image_size, 3});
    add_input("label", ESP_I64, {});
    add_recompute("none");
    for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) add_precision(precision);
    set_classes(classes);
    set_name("@id@ " + std::to_string(options.width) + "x" + std::to_string(options.depth));
  }
  uint64_t outputs(uint32_t unit) const { return static_cast<uint64_t>(param(2 * unit).shape[0]); }
  uint64_t inputs(uint32_t unit) const { return static_cast<uint64_t>(param(2 * unit).shape[1]); }
};

class MyPlugin : Layers, public esp::TorchModel {
 public:
  using Options = ::Options;

  MyPlugin(esp::Host& host, const Options& options)
      : Layers(host, options), TorchModel(desc(), esp::torch_device(host.run().device_kind, host.run().device_index)) {}

  const esp_model_desc& describe() { return desc(); }

  esp_model_need plan(const esp_model_run& run) {
    activations_.clear();
    for (uint32_t unit = 0; unit < n_units(); ++unit) {
      activations_.push_back(run.micro_rows * 2 * outputs(unit) * ESP_DTYPE_BYTES(run.compute_t));
    }
    esp_model_need need{};
    need.activation_bytes = activations_.data();
    need.workspace_bytes = run.micro_rows * inputs(0) * sizeof(float);
    return need;
  }

  // Uniform within the inverse root of the fan-in, each element from its own seed: independent of how it is
  // partitioned.
  void init_range(uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out) {
    const double bound = 1 / std::sqrt(static_cast<double>(inputs(param / 2)));
    for (uint64_t i = lo; i < hi; ++i) {
      std::minstd_rand random(
          static_cast<uint32_t>((seed * 0x9e3779b97f4a7c15u + (uint64_t{param} << 40) + i) % 2147483647u));
      random.discard(3);
      out[i - lo] = static_cast<float>(bound * (2.0 * random() / 2147483647.0 - 1));
    }
  }

  void save(const char*, esp::Slice<const float* const>, esp_dtype) {
    esp::fail(ESP_E_UNSUPPORTED, "@id@ writes no folder of weights: set train.save = false");
  }

 protected:
  at::Tensor forward(uint32_t unit, const at::Tensor& input, const Inputs& inputs) override {
    at::Tensor x = input;
    if (unit == 0) x = inputs[0].flatten(1).to(esp::torch_dtype(run().compute_t)).div(127.5).sub(1);
    const at::Tensor y = at::linear(x, parameter(2 * unit), parameter(2 * unit + 1));
    return unit + 1 < n_units() ? at::gelu(y) : y;
  }

  at::Tensor loss_gradient(const esp_step& step, const at::Tensor& output, const Inputs& inputs) override {
    return esp::cross_entropy(run(), step, output, inputs[1]);
  }

 private:
  std::vector<uint64_t> activations_;
};

ESP_PLUGIN("org.example.@name@", "0.1.0",
           esp::model<MyPlugin>("@id@", "a multi-layer perceptron over images",
                                ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_INFER));
