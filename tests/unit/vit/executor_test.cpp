// Metrics, memory, evaluation, and what the executor refuses.
#include <gtest/gtest.h>

#include "model_rig.hpp"
#include "scratch.hpp"

namespace esp::vit::test {
namespace {

RigSetup small() {
  RigSetup setup;
  setup.options = small_options();
  return setup;
}

TEST(Executor, EvaluationEqualsTrainingsForward) {
  ModelRig rig(small());
  rig.step({formula_batch(3, 32)});
  const double loss = rig.loss_sum;
  const uint64_t correct = rig.correct;
  rig.loss_sum = 0;
  rig.correct = 0;
  rig.evaluate(formula_batch(3, 32));
  EXPECT_EQ(rig.loss_sum, loss);
  EXPECT_EQ(rig.correct, correct);
  for (const int32_t c : rig.predicted) EXPECT_TRUE(c >= 0 && c < 3);
}

TEST(Executor, EvaluationBetweenStepsDisturbsNothing) {
  ModelRig plain(small()), disturbed(small());
  plain.step({formula_batch(3, 32)});
  plain.step({formula_batch(3, 32)});
  disturbed.step({formula_batch(3, 32)});
  disturbed.evaluate(formula_batch(3, 32));
  disturbed.step({formula_batch(3, 32)});
  for (size_t i = 0; i < plain.grads.size(); ++i) EXPECT_TRUE(at::equal(plain.grads[i], disturbed.grads[i]));
}

TEST(Executor, EvaluationKeepsNothing) {
  ModelRig training(small()), evaluation(small());
  training.step({formula_batch(3, 32)});
  evaluation.evaluate(formula_batch(3, 32));
  EXPECT_LT(evaluation.activation_bytes(), training.activation_bytes() / 4);
}

TEST(Executor, EvaluationCountsValidRowsAlone) {
  ModelRig rig(small());
  rig.evaluate(formula_batch(3, 32));
  const double all = rig.loss_sum;
  rig.loss_sum = 0;
  rig.valid[0] = 2;
  rig.evaluate(formula_batch(3, 32));
  EXPECT_LT(rig.loss_sum, all);
  rig.loss_sum = 0;
  rig.valid[0] = 0;
  rig.evaluate(formula_batch(3, 32));
  EXPECT_EQ(rig.loss_sum, 0);
}

TEST(Executor, AFlippedImageEqualsAMirroredOne) {
  ModelRig a(small()), b(small());
  Batch batch = formula_batch(3, 32);
  batch.flip.fill_(1);
  a.step({batch});
  batch.flip.fill_(0);
  batch.pixels = batch.pixels.flip({2}).contiguous();
  b.step({batch});
  EXPECT_EQ(a.loss_sum, b.loss_sum);
  EXPECT_TRUE(at::equal(a.grads[0], b.grads[0]));
}

TEST(Executor, TheLossSeedScalesGradientsAndNotTheLoss) {
  ModelRig one(small()), four(small());
  four.loss_seed = 4;
  one.step({formula_batch(3, 32)});
  four.step({formula_batch(3, 32)});
  EXPECT_EQ(one.loss_sum, four.loss_sum);
  for (size_t i = 0; i < one.grads.size(); ++i) EXPECT_TRUE(at::equal(one.grads[i] * 4, four.grads[i])) << i;
}

TEST(Executor, KeepsTheBytesThatItsPlanTells) {
  for (const uint32_t level : {0u, 1u}) {
    for (const esp_dtype dtype : {ESP_F32, ESP_BF16, ESP_F16}) {
      RigSetup setup = small();
      setup.options.hidden_size = 64;
      setup.options.intermediate_size = 256;
      setup.options.image_size = 64;
      setup.rows = 4;
      setup.recompute = level;
      setup.compute_t = setup.grad_t = dtype;
      ModelRig rig(setup);
      rig.step({formula_batch(4, 64)});
      const esp_model_need need = rig.plan();
      double planned = 0;
      for (uint32_t unit = 0; unit < rig.n_units(); ++unit) {
        planned += static_cast<double>(need.activation_bytes[level * rig.n_units() + unit]);
      }
      EXPECT_NEAR(static_cast<double>(rig.activation_bytes()) / planned, 1, 0.1) << "level " << level;
    }
  }
}

TEST(Executor, AnUnboundParameterIsNamed) {
  ModelRig rig(small());
  rig.bind_param(rig.id_of("vit.encoder.layer.0.layernorm_before.bias"), nullptr);
  rig.begin(0, formula_batch(3, 32));
  rig.forward(0, 0);
  const std::string text = failure_of([&] { rig.forward(0, 1); });
  EXPECT_NE(text.find("vit.encoder.layer.0.layernorm_before.bias is not bound while unit block.0 runs"),
            std::string::npos)
      << text;
}

TEST(Executor, WrongBindsAndInputsAreErrorsAndNoCrash) {
  ModelRig rig(small());
  EXPECT_NE(rig.failure({{999, ESP_BIND_PARAM, rig.params[0].data_ptr(), ESP_F32, 0}}), "");
  EXPECT_NE(rig.failure({{0, ESP_BIND_PARAM, rig.params[0].data_ptr(), ESP_BF16, 0}}), "");
  const std::string text = failure_of([&] { rig.begin(0, formula_batch(3, 48)); });
  EXPECT_NE(text.find("input pixels does not have"), std::string::npos) << text;
  Batch batch = formula_batch(3, 32);
  batch.label.fill_(7);  // beyond the classes
  EXPECT_NE(failure_of([&] { rig.step({batch}); }), "no failure");
}

}  // namespace
}  // namespace esp::vit::test
