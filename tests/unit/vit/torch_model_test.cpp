// The SDK's LibTorch base on a model that ViT is not: a weight that two units share, and one that nothing flows to.
#include <gtest/gtest.h>

#include <espalier/model.hpp>
#include <espalier/torch_model.hpp>

namespace esp {
namespace {

enum : uint32_t { kShared, kUnused, kLast };

class TiedModel : public TorchModel {
 public:
  explicit TiedModel(const esp_model_desc& desc) : TorchModel(desc, at::kCPU) {}
  int forwards = 0;

 protected:
  at::Tensor forward(uint32_t unit, const at::Tensor& input, const Inputs& inputs) override {
    ++forwards;
    if (unit == 0) return inputs[0].matmul(parameter(kShared)).tanh();
    if (unit == 1) return input.matmul(parameter(kShared)).tanh();
    return input.matmul(parameter(kLast));
  }
  at::Tensor loss_gradient(const esp_step&, const at::Tensor& output, const Inputs&) override {
    return at::ones_like(output);
  }
};

class TorchModelTest : public testing::Test {
 protected:
  TorchModelTest() {
    description_.add_param("shared", {4, 4}, ESP_PARAM_TRAINABLE);
    description_.add_param("unused", {4}, ESP_PARAM_TRAINABLE);
    description_.add_param("last", {4, 2}, ESP_PARAM_TRAINABLE);
    description_.add_unit("first", {kShared}, 1);
    description_.add_unit("second", {kShared, kUnused}, 1);
    description_.add_unit("third", {kLast}, 1);
    model_ = std::make_unique<TiedModel>(description_.desc());
    at::manual_seed(3);
    for (const auto& shape : std::vector<std::vector<int64_t>>{{4, 4}, {4}, {4, 2}}) {
      values_.push_back(at::randn(shape));
      grads_.push_back(at::full(shape, 77.f));
    }
  }

  void prepare(uint32_t recompute) {
    esp_model_run run{};
    run.struct_size = sizeof run;
    run.mode = ESP_MODE_TRAIN;
    run.n_micro = 2;
    run.recompute = recompute;
    run.compute_t = run.grad_t = ESP_F32;
    model_->prepare(run);
    for (uint32_t i = 0; i < 3; ++i) bind({i, ESP_BIND_PARAM, values_[i].data_ptr(), ESP_F32, 0});
  }

  void bind(const esp_bind& bind) { model_->bind(Slice<const esp_bind>(&bind, 1)); }
  void bind_gradients(uint32_t mode) {
    for (uint32_t i = 0; i < 3; ++i) bind({i, ESP_BIND_GRAD, grads_[i].data_ptr(), ESP_F32, mode});
  }

  void micro(uint32_t number, uint64_t index) {
    esp_step step{};
    step.struct_size = sizeof step;
    step.index = index;
    step.micro = number;
    step.pos = number * 6;
    const esp_tensor input{input_.data_ptr(), input_.sizes().data(), ESP_F32, 2};
    const esp_tensor* inputs[] = {&input};
    model_->begin_micro(step, Slice<const esp_tensor* const>(inputs, 1));
    for (uint32_t unit = 0; unit < 3; ++unit) model_->forward_unit(step, unit);
    model_->loss(step);
    for (uint32_t unit = 3; unit-- > 0;) model_->backward_unit(step, unit);
  }

  // By one graph.
  std::vector<at::Tensor> expected() const {
    const at::Tensor shared = values_[kShared].clone().set_requires_grad(true);
    const at::Tensor last = values_[kLast].clone().set_requires_grad(true);
    const at::Tensor out = input_.matmul(shared).tanh().matmul(shared).tanh().matmul(last);
    const auto grads = torch::autograd::grad({out.sum()}, {shared, last});
    return {grads[0], at::zeros({4}), grads[1]};
  }

  void expect_gradients(double times) {
    const auto want = expected();
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::allclose(grads_[i], want[i] * times, 1e-6, 1e-6)) << i;
  }

  ModelDescription description_;
  std::unique_ptr<TiedModel> model_;
  std::vector<at::Tensor> values_, grads_;
  at::Tensor input_ = at::linspace(-1, 1, 12).view({3, 4});
};

TEST_F(TorchModelTest, AddsTheUsesOfASharedWeightAndZeroesWhatNothingFlowsTo) {
  for (const uint32_t recompute : {0u, 1u}) {
    prepare(recompute);
    bind_gradients(ESP_WRITE_EACH_PASS);
    for (uint64_t step = 0; step < 3; ++step) {
      micro(0, step);
      expect_gradients(1);
      micro(1, step);
      expect_gradients(2);
    }
  }
}

TEST_F(TorchModelTest, NowOverwritesAtTheFirstUseAlone) {
  prepare(0);
  bind_gradients(ESP_WRITE_NOW);
  micro(0, 0);
  expect_gradients(1);
  bind_gradients(ESP_WRITE_NOW);
  micro(1, 0);
  expect_gradients(1);
  micro(0, 1);
  expect_gradients(2);
}

TEST_F(TorchModelTest, RecomputedUnitsRunTwice) {
  prepare(1);
  bind_gradients(ESP_WRITE_EACH_PASS);
  micro(0, 0);
  EXPECT_EQ(model_->forwards, 6);
}

}  // namespace
}  // namespace esp
