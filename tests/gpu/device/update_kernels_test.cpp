// The update's kernels on a GPU against those of the CPU device.
#include <cmath>
#include <cstring>

#include "gpu_rig.hpp"
#include "runtime/device/update_step.hpp"

namespace esp::runtime::test {
namespace {

const std::vector<esp_dtype> kHalves{ESP_F32, ESP_F16, ESP_BF16};  // of gradients and outputs on a GPU

struct Shape {
  uint64_t n, head;
};

// Arrays of one range, on both devices.
struct RangeTwin {
  Twin master, slots[2], grad, out;
  Shape shape;
  esp_dtype grad_t, out_t;
  uint32_t group;
  bool has_out;

  template <class At>
  UpdateRange range(At at, uint32_t n_slots) const {
    const uint64_t head = shape.head;
    UpdateRange made{
        shape.n, at(master, head * 4), {}, at(grad, head * bytes_of(grad_t)), nullptr, ESP_F32, grad_t, out_t, group};
    for (uint32_t i = 0; i < n_slots; ++i) made.slots[i] = at(slots[i], head * 4);
    if (has_out) made.out = at(out, head * bytes_of(out_t));
    return made;
  }
};

class UpdateKernelsOnAGpu : public GpuRig {
 protected:
  RangeTwin range(Shape shape, esp_dtype grad_t, esp_dtype out_t, bool has_out, uint32_t group) {
    const uint64_t all = shape.head + shape.n + 2;  // what lies around must stay
    RangeTwin made{random(all, ESP_F32),
                   {random(all, ESP_F32, 0.1), {}},
                   random(all, grad_t),
                   random(all, out_t),
                   shape,
                   grad_t,
                   out_t,
                   group,
                   has_out};
    made.slots[1] = random(all, ESP_F32, 0.1);
    auto* squares = static_cast<float*>(made.slots[1].cpu);
    for (uint64_t i = 0; i < all; ++i) squares[i] = std::abs(squares[i]);
    push(made.slots[1]);
    return made;
  }

  // The numbers of a step, the same bits on both devices.
  Twin block(const UpdateRules& rules, uint64_t applied, double sum) {
    const Twin made = twin(sizeof(UpdateBlock));
    auto& numbers = *static_cast<UpdateBlock*>(made.cpu);
    numbers.loss_scale = rules.dynamic_scale ? 1024 : 1;
    numbers.exact_decay[0] = 0.1;
    numbers.applied = applied;
    UpdateInputs inputs;
    inputs.n_groups = 2;
    inputs.lr[0] = 3e-3;
    inputs.lr[1] = 1e-2;
    begin_numbers(numbers, rules, inputs);
    numbers.sum = sum;
    finish_numbers(numbers, rules);
    push(made);
    return made;
  }

  // sum: NULL, or gets the squares of the gradients.
  void apply(const std::vector<RangeTwin>& twins, const UpdateRules& rules, const Twin& numbers, uint32_t n_slots,
             const Twin* sum = nullptr) {
    both([&](Kernels& kernels, Stream& stream, auto at) {
      std::vector<UpdateRange> ranges;
      for (const RangeTwin& twin : twins) ranges.push_back(twin.range(at, n_slots));
      kernels.apply(stream, at.template operator()<UpdateBlock>(numbers), rules, ranges,
                    sum == nullptr ? nullptr : at.template operator()<double>(*sum));
    });
  }

  void expect_same(const RangeTwin& twin) {
    EXPECT_EQ(difference(twin.master), kNone) << "master";
    EXPECT_EQ(difference(twin.slots[0]), kNone) << "first slot";
    EXPECT_EQ(difference(twin.slots[1]), kNone) << "second slot";
    EXPECT_EQ(difference(twin.grad), kNone) << "gradient";
    EXPECT_EQ(difference(twin.out), kNone) << "output";
  }

  // Every dtype of gradients with every dtype of outputs, odd lengths and heads; three steps.
  void check_rule(const UpdateRules& rules, uint32_t n_slots) {
    std::vector<RangeTwin> twins;
    for (esp_dtype grad_t : kHalves) {
      for (esp_dtype out_t : kHalves) {
        for (Shape shape : {Shape{1, 0}, Shape{5, 3}, Shape{1025, 1}, Shape{4099, 0}}) {
          for (bool has_out : {false, true}) {
            twins.push_back(range(shape, grad_t, out_t, has_out, static_cast<uint32_t>(twins.size()) % 2));
          }
        }
      }
    }
    ASSERT_GT(twins.size(), 56u) << "more than one launch takes";
    for (uint64_t step : {0, 1, 41}) apply(twins, rules, block(rules, step, 123.4), n_slots);
    for (const RangeTwin& twin : twins) {
      SCOPED_TRACE(name_of(twin.grad_t) + " gradients, " + name_of(twin.out_t) + " output, " +
                   std::to_string(twin.shape.n) + " elements after " + std::to_string(twin.shape.head));
      expect_same(twin);
      if (HasFailure()) return;
    }
  }
};

UpdateRules adamw() {
  UpdateRules rules;
  rules.beta2 = 0.99;
  rules.eps = 1e-6;
  return rules;
}

UpdateRules clipped(UpdateRules rules) {
  rules.barrier = rules.dynamic_scale = true;
  rules.clip_norm = 0.01;
  return rules;
}

UpdateRules sgd(double momentum) {
  UpdateRules rules;
  rules.adamw = false;
  rules.momentum = momentum;
  return rules;
}

TEST_F(UpdateKernelsOnAGpu, AdamWGivesTheBitsOfTheCpu) { check_rule(adamw(), 2); }
TEST_F(UpdateKernelsOnAGpu, AdamWClippedAndUnscaledGivesTheBitsOfTheCpu) { check_rule(clipped(adamw()), 2); }
TEST_F(UpdateKernelsOnAGpu, SgdGivesTheBitsOfTheCpu) { check_rule(sgd(0), 0); }
TEST_F(UpdateKernelsOnAGpu, SgdWithMomentumGivesTheBitsOfTheCpu) { check_rule(sgd(0.9), 1); }
TEST_F(UpdateKernelsOnAGpu, SgdWithMomentumClippedAndUnscaledGivesTheBitsOfTheCpu) { check_rule(clipped(sgd(0.9)), 1); }

TEST_F(UpdateKernelsOnAGpu, NothingMovesWhenAnOverflowWasFound) {
  const UpdateRules rules = clipped(adamw());
  const RangeTwin twin = range({5001, 0}, ESP_F16, ESP_F16, true, 0);
  const auto before = read(static_cast<float*>(twin.master.gpu), 5001);
  apply({twin}, rules, block(rules, 3, std::numeric_limits<double>::infinity()), 2);
  expect_same(twin);
  EXPECT_EQ(read(static_cast<float*>(twin.master.gpu), 5001), before);
}

TEST_F(UpdateKernelsOnAGpu, ManyRangesOfOneCallAreAllUpdatedOnce) {
  std::vector<RangeTwin> twins;
  for (uint64_t i = 0; i < 230; ++i) twins.push_back(range({(i * 91) % 3000, i % 4}, ESP_BF16, ESP_BF16, true, i % 2));
  apply(twins, adamw(), block(adamw(), 0, 1), 2);
  for (const RangeTwin& twin : twins) expect_same(twin);
}

// Sums of squares in fp64 are added in another order than on the CPU.
TEST_F(UpdateKernelsOnAGpu, SquaresTakenWithTheUpdateChangeNoBitOfItAndAddUp) {
  for (const bool with_adamw : {true, false}) {
    const UpdateRules rules = with_adamw ? adamw() : sgd(0.9);
    std::vector<RangeTwin> twins;
    for (uint64_t i = 0; i < 130; ++i) {
      const esp_dtype dtype = kHalves[i % 3];
      twins.push_back(range({(i * 91) % 3000, i % 4}, dtype, dtype, i % 2 == 0, i % 2));
    }
    const Twin sum = twin_of({2}, ESP_F64);
    apply(twins, rules, block(rules, 0, 1), 2, &sum);
    for (const RangeTwin& twin : twins) expect_same(twin);
    const double want = *static_cast<double*>(sum.cpu);
    EXPECT_GT(want, 10000);
    EXPECT_NEAR(read(static_cast<double*>(sum.gpu), 1)[0], want, want * 1e-13);
  }
}

TEST_F(UpdateKernelsOnAGpu, ARangeLongerThanALaunchTakesIsUpdatedOnce) {
  const RangeTwin twin = range({(1u << 24) + 4099, 0}, ESP_BF16, ESP_BF16, true, 0);
  const Twin sum = twin_of({0}, ESP_F64);
  apply({twin}, adamw(), block(adamw(), 0, 1), 2, &sum);
  expect_same(twin);
  const double want = *static_cast<double*>(sum.cpu);
  EXPECT_NEAR(read(static_cast<double*>(sum.gpu), 1)[0], want, want * 1e-13);
}

// Lengths and addresses that need no care are updated by a kernel of their own, which rounds by other instructions.
TEST_F(UpdateKernelsOnAGpu, RangesOfWholeVectorsGiveTheBitsOfTheCpuAtEveryMagnitude) {
  std::vector<RangeTwin> twins;
  for (int i = 0; i < 70; ++i) {
    RangeTwin twin = range({4 * (1 + static_cast<uint64_t>(i * i) * 37 % 1500), 0}, ESP_BF16, ESP_BF16, i % 5 != 0,
                           static_cast<uint32_t>(i % 2));
    auto* first = static_cast<float*>(twin.slots[0].cpu);
    auto* second = static_cast<float*>(twin.slots[1].cpu);
    for (uint64_t k = 0; k < twin.shape.n; ++k) {
      const int power = (i * 7 + static_cast<int>(k)) % 96;  // down to numbers that are subnormal, and to nothing
      first[k] = power > 90 ? 0 : std::ldexp(first[k], -power);
      second[k] = power > 90 ? 0 : std::ldexp(second[k], 20 - 2 * power);
    }
    push(twin.slots[0]);
    push(twin.slots[1]);
    if (i % 3 == 0) {
      std::memset(twin.grad.cpu, 0, twin.shape.n * 2);
      push(twin.grad);
    }
    twins.push_back(twin);
  }
  const Twin sum = twin_of({0}, ESP_F64);
  for (uint64_t step : {0, 1, 41}) apply(twins, adamw(), block(adamw(), step, 1), 2, &sum);
  for (const RangeTwin& twin : twins) {
    SCOPED_TRACE(std::to_string(twin.shape.n) + " elements");
    expect_same(twin);
    if (HasFailure()) return;
  }
  const double want = *static_cast<double*>(sum.cpu);
  EXPECT_NEAR(read(static_cast<double*>(sum.gpu), 1)[0], want, want * 1e-13);
}

TEST_F(UpdateKernelsOnAGpu, DoubleMastersAreRefused) {
  const UpdateRange wide{4, make<double>(4), {}, make<float>(4), nullptr, ESP_F64, ESP_F32, ESP_F32, 0};
  EXPECT_EQ(caught([&] {
              kernels().apply(compute(), make<UpdateBlock>(1), sgd(0), std::vector<UpdateRange>{wide}, nullptr);
            }).code,
            ExitCode::kPlugin);
}

// pow and sqrt in double precision: the GPU's library may round the last bits otherwise than the host's.
constexpr double kLastBits = 8 * 0x1p-53;

class NumbersOnAGpu : public UpdateKernelsOnAGpu {};

void expect_near(double have, double want, const char* what) {
  if (std::isinf(want)) {
    EXPECT_EQ(have, want) << what;
  } else {
    EXPECT_NEAR(have, want, std::abs(want) * kLastBits) << what;
  }
}

void expect_alike(const UpdateBlock& have, const UpdateBlock& want) {
  for (uint32_t group = 0; group < 2; ++group) {
    EXPECT_EQ(have.lr[group], want.lr[group]);
    EXPECT_EQ(have.exact_lr[group], want.exact_lr[group]);
    expect_near(have.keep[group], want.keep[group], "keep");
    expect_near(have.step_size[group], want.step_size[group], "step_size");
  }
  expect_near(have.sqrt_bias2, want.sqrt_bias2, "sqrt_bias2");
  expect_near(have.exact_coef, want.exact_coef, "coef");
  expect_near(have.exact_norm, want.exact_norm, "norm");
  EXPECT_FLOAT_EQ(have.coef, want.coef);
  EXPECT_FLOAT_EQ(have.grad_norm, want.grad_norm);
  EXPECT_EQ(have.loss_seed, want.loss_seed);
  EXPECT_EQ(have.loss_scale, want.loss_scale);
  EXPECT_EQ(have.found_inf, want.found_inf);
  EXPECT_EQ(have.applied, want.applied);
  EXPECT_EQ(have.applied_steps, want.applied_steps);
  EXPECT_EQ(have.skipped, want.skipped);
  EXPECT_EQ(have.good_steps, want.good_steps);
  EXPECT_EQ(have.hysteresis_left, want.hysteresis_left);
  EXPECT_EQ(have.step, want.step);
}

TEST_F(NumbersOnAGpu, OfEveryStepAreThoseOfTheCpu) {
  UpdateRules rules = clipped(adamw());
  rules.scale_window = 3;
  rules.scale_min = 256;
  const Twin numbers = twin(sizeof(UpdateBlock)), results = twin(sizeof(UpdateResult), ESP_PINNED);
  auto& start = *static_cast<UpdateBlock*>(numbers.cpu);
  start.loss_scale = 1024;
  start.exact_decay[0] = 0.1;
  start.hysteresis_left = 2;
  push(numbers);
  uint64_t index = 0;
  for (char kind : std::string("gxgggxxxggggggxg")) {
    const double value = kind == 'x' ? INFINITY : 0.7 + static_cast<double>(index);
    const Twin grad = twin_of({value, 2, 3}, ESP_F32);
    UpdateInputs inputs;
    inputs.n_groups = 2;
    inputs.lr[0] = 1e-3 * static_cast<double>(index);
    inputs.lr[1] = 0.3;
    inputs.step = index++;
    inputs.seed_factor = 3.0 / 7;
    both([&](Kernels& kernels, Stream& stream, auto at) {
      auto* block = at.template operator()<UpdateBlock>(numbers);
      kernels.begin_update(stream, block, rules, inputs);
      kernels.add_sum_sq(stream, std::vector<NormPiece>{{at(grad), 3, ESP_F32}}, &block->partial[stream.index()]);
      kernels.finish_norm(stream, block, rules, /*sums=*/true);
      kernels.end_update(stream, block, rules, at.template operator()<UpdateResult>(results));
    });
    const auto have = read(static_cast<UpdateBlock*>(numbers.gpu), 1);
    SCOPED_TRACE("step " + std::to_string(inputs.step));
    expect_alike(have[0], start);
    const auto& result = *static_cast<UpdateResult*>(results.gpu);
    const auto& want = *static_cast<UpdateResult*>(results.cpu);
    EXPECT_EQ(result.skipped, kind == 'x');
    EXPECT_EQ(result.found_inf, want.found_inf);
    EXPECT_EQ(result.applied_steps, want.applied_steps);
    EXPECT_EQ(result.loss_scale, want.loss_scale);
    EXPECT_EQ(result.step, inputs.step);
    if (kind != 'x') expect_near(result.grad_norm, want.grad_norm, "grad_norm");
  }
}

}  // namespace
}  // namespace esp::runtime::test
