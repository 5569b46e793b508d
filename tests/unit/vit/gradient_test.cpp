// Gradients: bit for bit those of one autograd graph over the whole model, however memory moves and work is cut.
#include <gtest/gtest.h>

#include <limits>

#include "model_rig.hpp"
#include "reference/reference_executor.hpp"
#include "vit_definition.hpp"

namespace esp::vit::test {
namespace {

// The executor's own functions in one graph, without borders.
class WholeModel : public ReferenceExecutor {
 public:
  WholeModel(const ModelRig& rig, const ViTDefinition& definition)
      : ReferenceExecutor(rig.desc(), at::kCPU, definition.config(), definition.parameters(), definition.scaling()),
        rig_(rig) {
    prepare(rig.run);
    for (uint32_t i = 0; i < rig.desc().n_params; ++i) {
      const esp_bind one{i, ESP_BIND_PARAM, rig.params[i].data_ptr(), rig.run.compute_t, 0};
      bind(Slice<const esp_bind>(&one, 1));
    }
  }

  std::vector<at::Tensor> gradients(const Batch& batch, float seed) {
    at::Tensor x;
    for (uint32_t unit = 0; unit < rig_.n_units(); ++unit)
      x = forward(unit, x, {batch.pixels, batch.flip, batch.label});
    if (x.scalar_type() != at::kDouble) x = x.to(at::kFloat);
    const at::Tensor loss = at::cross_entropy_loss(x, batch.label, {}, at::Reduction::Sum) * seed;
    std::vector<at::Tensor> leaves;
    for (uint32_t i = 0; i < rig_.desc().n_params; ++i) leaves.push_back(parameter(i));
    return torch::autograd::grad({loss}, leaves);
  }

 private:
  const ModelRig& rig_;
};

bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  bool equal = a.size() == b.size();
  for (size_t i = 0; equal && i < a.size(); ++i) equal = at::equal(a[i], b[i]);
  return equal;
}

std::vector<at::Tensor> copies(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& tensor : tensors) out.push_back(tensor.clone());
  return out;
}

std::vector<at::Tensor> flat(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& tensor : tensors) out.push_back(tensor.flatten());
  return out;
}

RigSetup small() {
  RigSetup setup;
  setup.options = small_options();
  return setup;
}

std::vector<at::Tensor> gradients_of_a_step(const RigSetup& setup, const std::vector<Batch>& batches) {
  ModelRig rig(setup);
  rig.step(batches);
  return rig.grads;
}

class GradientsIn : public testing::TestWithParam<esp_dtype> {};

TEST_P(GradientsIn, EqualThoseOfOneGraphBitForBit) {
  RigSetup setup = small();
  setup.compute_t = setup.grad_t = GetParam();
  ModelRig rig(setup);
  rig.loss_seed = 0.375f;
  const Batch batch = formula_batch(3, 32);
  rig.step({batch});
  const ViTDefinition definition(setup.options, setup.classes, "tiny");
  EXPECT_TRUE(same(rig.grads, WholeModel(rig, definition).gradients(batch, rig.loss_seed)));
  EXPECT_GT(rig.grads[0].abs().max().item<double>(), 0);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, GradientsIn, testing::Values(ESP_F32, ESP_BF16, ESP_F16, ESP_F64));

TEST(Gradients, FollowParametersThatMoveBetweenForwardAndBackward) {
  for (const uint32_t recompute : {0u, 1u}) {
    RigSetup setup = small();
    setup.recompute = recompute;
    const Batch batch = formula_batch(3, 32);
    const auto expected = gradients_of_a_step(setup, {batch});
    ModelRig rig(setup);
    const auto moved = copies(rig.params);
    rig.forward_all(0, batch);
    rig.loss(0);
    for (uint32_t unit = rig.n_units(); unit-- > 0;) {
      for (uint32_t k = 0; k < rig.desc().units[unit]->n_uses; ++k) {
        const uint32_t id = rig.desc().units[unit]->uses[k];
        rig.bind_param(id, moved[id].data_ptr());
        rig.params[id].fill_(std::numeric_limits<double>::quiet_NaN());
      }
      rig.backward(0, unit);
    }
    EXPECT_TRUE(same(rig.grads, expected)) << "recompute " << recompute;
  }
}

// One product serves query, key and value then, forward and backward, without a copy.
TEST(Gradients, OfParametersSideBySideAreTheSame) {
  for (const uint32_t recompute : {0u, 1u}) {
    for (const uint32_t n_micro : {1u, 2u}) {
      RigSetup setup = small();
      setup.recompute = recompute;
      setup.n_micro = n_micro;
      const std::vector<Batch> batches(n_micro, formula_batch(3, 32));
      const auto expected = gradients_of_a_step(setup, batches);
      ModelRig rig(setup);
      const at::Tensor params = at::cat(flat(rig.params)), grads = at::full_like(params, 77);
      int64_t begin = 0;
      for (uint32_t id = 0; id < rig.desc().n_params; ++id) {
        rig.bind_param(id, params.data_ptr<float>() + begin);
        rig.bind_grad(id, grads.data_ptr<float>() + begin, ESP_WRITE_EACH_PASS);
        begin += rig.grads[id].numel();
      }
      rig.step(batches);
      EXPECT_TRUE(at::equal(grads, at::cat(flat(expected)))) << "recompute " << recompute << ", micro " << n_micro;
    }
  }
}

TEST(Gradients, RecomputingBlocksChangesNoBit) {
  RigSetup setup = small();
  const auto none = gradients_of_a_step(setup, {formula_batch(3, 32)});
  setup.recompute = 1;
  EXPECT_TRUE(same(gradients_of_a_step(setup, {formula_batch(3, 32)}), none));
}

TEST(Gradients, EachPassOverwritesFirstAndAddsThen) {
  RigSetup setup = small();
  const auto a = gradients_of_a_step(setup, {formula_batch(3, 32)});
  Batch other = formula_batch(3, 32);
  other.label = at::zeros_like(other.label);
  const auto b = gradients_of_a_step(setup, {other});
  setup.n_micro = 2;
  ModelRig rig(setup);
  for (int step = 0; step < 2; ++step) {
    rig.step({formula_batch(3, 32), other});
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(rig.grads[i], a[i] + b[i])) << i << " step " << step;
  }
}

TEST(Gradients, ASecondPassOfAStepOverwritesAgain) {
  ModelRig rig(small());
  const Batch batch = formula_batch(3, 32);
  rig.forward_all(0, batch);
  rig.backward_all(0);
  const auto first = copies(rig.grads);
  const double loss = rig.loss_sum;
  rig.next_pass();
  rig.forward_all(0, batch);
  rig.backward_all(0);
  EXPECT_TRUE(same(rig.grads, first));
  EXPECT_EQ(rig.loss_sum, loss);  // metrics count once a step
}

TEST(Gradients, NowOverwritesOnceUntilTheNextBind) {
  RigSetup setup = small();
  const auto once = gradients_of_a_step(setup, {formula_batch(3, 32)});
  setup.n_micro = 2;
  ModelRig rig(setup);
  const auto bind_all = [&] {
    for (uint32_t i = 0; i < rig.desc().n_params; ++i) rig.bind_grad(i, rig.grads[i].data_ptr(), ESP_WRITE_NOW);
  };
  bind_all();
  rig.forward_all(0, formula_batch(3, 32));
  rig.backward_all(0);
  EXPECT_TRUE(same(rig.grads, once));
  rig.end_pass();
  rig.forward_all(0, formula_batch(3, 32));
  rig.backward_all(0);
  for (size_t i = 0; i < once.size(); ++i) EXPECT_TRUE(at::equal(rig.grads[i], once[i] + once[i])) << i;
  bind_all();
  rig.forward_all(1, formula_batch(3, 32));
  rig.backward_all(1);
  EXPECT_TRUE(same(rig.grads, once));
}

TEST(Gradients, MicroBatchesInFlightTogetherDoNotMix) {
  RigSetup setup = small();
  setup.n_micro = 2;
  Batch other = formula_batch(3, 32);
  other.pixels = other.pixels.bitwise_not();
  const auto expected = gradients_of_a_step(setup, {formula_batch(3, 32), other});
  ModelRig rig(setup);
  rig.begin(0, formula_batch(3, 32));
  rig.forward(0, 0);
  rig.begin(1, other);
  rig.forward(1, 0);
  for (uint32_t unit = 1; unit < rig.n_units(); ++unit) {
    rig.forward(1, unit);
    rig.forward(0, unit);
  }
  rig.loss(0);
  rig.loss(1);
  for (uint32_t unit = rig.n_units(); unit-- > 0;) {
    rig.backward(0, unit);
    rig.backward(1, unit);
  }
  EXPECT_TRUE(same(rig.grads, expected));
}

TEST(Gradients, PaddingRowsHaveExactlyNoEffect) {
  RigSetup setup = small();
  const Batch batch = formula_batch(3, 32);
  const auto run = [&](uint8_t noise, int64_t label) {
    ModelRig rig(setup);
    rig.valid = {2};
    rig.run.valid = rig.valid.data();
    Batch padded{batch.pixels.clone(), batch.flip.clone(), batch.label.clone()};
    padded.pixels[2].fill_(noise);
    padded.flip[2].fill_(noise % 2);
    padded.label[2].fill_(label);
    rig.step({padded});
    auto all = copies(rig.grads);
    all.push_back(at::scalar_tensor(rig.loss_sum, at::kDouble));
    all.push_back(at::scalar_tensor(static_cast<int64_t>(rig.correct), at::kLong));
    return all;
  };
  const auto clean = run(0, 0);
  EXPECT_TRUE(same(run(255, -1), clean));
  EXPECT_TRUE(same(run(17, 1'000'000), clean));
  EXPECT_FALSE(same(gradients_of_a_step(setup, {batch}), {clean.begin(), clean.end() - 2}));
}

TEST(Gradients, AMicroBatchWithoutAValidRowGivesZeros) {
  ModelRig rig(small());
  rig.valid[0] = 0;
  rig.step({formula_batch(3, 32)});
  for (const at::Tensor& grad : rig.grads) EXPECT_EQ(grad.abs().max().item<double>(), 0);
  EXPECT_EQ(rig.loss_sum, 0);
  EXPECT_EQ(rig.correct, 0u);
}

TEST(Gradients, FrozenParametersGetNoneAndTheOthersStayTheSame) {
  RigSetup setup = small();
  const auto all = gradients_of_a_step(setup, {formula_batch(3, 32)});
  setup.frozen = {"embeddings", "layer.0", "query.bias"};
  ModelRig rig(setup);
  rig.step({formula_batch(3, 32)});
  for (uint32_t i = 0; i < rig.desc().n_params; ++i) {
    const at::Tensor expected = rig.trainable[i] ? all[i] : at::full_like(all[i], 77);
    EXPECT_TRUE(at::equal(rig.grads[i], expected)) << rig.desc().params[i]->name;
  }
}

TEST(Gradients, UnitsBelowTheFirstTrainableOneKeepNothing) {
  RigSetup setup = small();
  ModelRig everything(setup);
  everything.step({formula_batch(3, 32)});
  setup.frozen = {"vit."};
  ModelRig head(setup);
  head.step({formula_batch(3, 32)});
  EXPECT_LT(head.activation_bytes(), everything.activation_bytes() / 8);
  setup.frozen = {""};
  ModelRig nothing(setup);
  nothing.step({formula_batch(3, 32)});  // and nothing to train is no error
}

TEST(Gradients, ParametersWithoutABoundGradientAreLeftOut) {
  RigSetup setup = small();
  const auto all = gradients_of_a_step(setup, {formula_batch(3, 32)});
  ModelRig rig(setup);
  const uint32_t released = rig.id_of("vit.encoder.layer.1.output.dense.weight");
  rig.bind_grad(released, nullptr, ESP_WRITE_NOW);
  rig.step({formula_batch(3, 32)});
  for (uint32_t i = 0; i < rig.desc().n_params; ++i) {
    EXPECT_TRUE(at::equal(rig.grads[i], i == released ? at::full_like(all[i], 77) : all[i])) << i;
  }
}

TEST(Gradients, HalfPrecisionMayBeGatheredInFullPrecision) {
  RigSetup setup = small();
  setup.compute_t = setup.grad_t = ESP_BF16;
  const auto half = gradients_of_a_step(setup, {formula_batch(3, 32)});
  setup.grad_t = ESP_F32;
  const auto full = gradients_of_a_step(setup, {formula_batch(3, 32)});
  for (size_t i = 0; i < half.size(); ++i) EXPECT_TRUE(at::equal(half[i].to(at::kFloat), full[i])) << i;
}

}  // namespace
}  // namespace esp::vit::test
