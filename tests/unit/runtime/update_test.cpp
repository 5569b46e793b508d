#include <c10/util/Half.h>

#include <cmath>
#include <limits>

#include "rig.hpp"
#include "runtime/update/update_service.hpp"

namespace esp::runtime::test {
namespace {

// Values of torch 2.11 (fp32, CPU): torch.manual_seed(7); p = randn(7); g = randn(4, 7).
const std::vector<float> kStart{-0.146795094f, 0.786141276f,  0.94682163f,  -1.114344f,
                                1.69079018f,   -0.894827902f, -0.355625033f};
const std::vector<std::vector<float>> kGrads{
    {-1.58266461f, -0.324566633f, 1.92636812f, -0.330011725f, 0.198445052f, 0.782072663f, 1.03910768f},
    {-0.724510729f, -0.209340423f, -0.215341523f, -1.81572866f, -0.345241964f, 2.51160288f, -1.25478518f},
    {0.816456497f, -1.06539893f, -0.178192616f, -0.259498864f, -0.0144879408f, -0.383890986f, -0.100734316f},
    {0.237014592f, 0.632682085f, -0.0916771665f, 1.62431645f, 0.00156727072f, -0.43754071f, -2.10853338f}};
const std::vector<double> kRates{1e-2, 5e-3, 2e-2, 1e-3};
// torch.optim.AdamW(lr by step, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)
const std::vector<std::vector<float>> kAdamW{
    {-0.136648312f, 0.795355141f, 0.93587482f, -1.10322964f, 1.67909944f, -0.903933048f, -0.365269393f},
    {-0.131977841f, 0.799794436f, 0.932484448f, -1.09842741f, 1.67981529f, -0.908020794f, -0.364357054f},
    {-0.124264985f, 0.815234184f, 0.922777414f, -1.08140743f, 1.68173814f, -0.918278098f, -0.360580862f},
    {-0.124020636f, 0.815479815f, 0.922391176f, -1.08122408f, 1.68178451f, -0.918580472f, -0.360010326f}};
const std::vector<float> kExpAvg{-0.0768790767f, -0.0732351691f, 0.0977845266f, -0.0320551284f,
                                 -0.0146451425f, 0.18214868f,    -0.245806083f};
const std::vector<float> kExpAvgSq{0.0366101265f,  0.0166917685f, 0.0368596576f, 0.0604200587f,
                                   0.00155241147f, 0.0711342841f, 0.0704678744f};
// torch.optim.SGD(lr by step)
const std::vector<std::vector<float>> kSgd{
    {-0.130968451f, 0.789386928f, 0.927557945f, -1.11104393f, 1.6888057f, -0.902648628f, -0.36601612f},
    {-0.127345905f, 0.790433645f, 0.928634644f, -1.10196531f, 1.69053185f, -0.915206671f, -0.359742194f},
    {-0.143675029f, 0.81174165f, 0.932198524f, -1.09677529f, 1.69082165f, -0.907528877f, -0.357727498f},
    {-0.143912047f, 0.811108947f, 0.932290196f, -1.09839964f, 1.6908201f, -0.90709132f, -0.355618954f}};
// torch.optim.SGD(lr by step, momentum=0.9, weight_decay=0.05)
const std::vector<std::vector<float>> kMomentum{
    {-0.130895048f, 0.788993895f, 0.927084565f, -1.11048675f, 1.68796039f, -0.902201235f, -0.365838289f},
    {-0.120084755f, 0.791127026f, 0.919047832f, -1.09939468f, 1.68799114f, -0.917851686f, -0.364068866f},
    {-0.097376734f, 0.819323123f, 0.892760336f, -1.0531739f, 1.6867038f, -0.96559763f, -0.355320215f},
    {-0.0965870172f, 0.819918275f, 0.891624451f, -1.05266559f, 1.68655992f, -0.967260361f, -0.35280022f}};
// SGD(lr=1) after clip_grad_norm_(0.5) of kGrads[0]
constexpr double kNorm = 2.8566999435424805;
const std::vector<float> kClipped{0.130214065f, 0.842949212f, 0.609655023f, -1.05658305f,
                                  1.65605688f,  -1.03171182f, -0.537497044f};

constexpr float kInf = std::numeric_limits<float>::infinity();

// One parameter of seven elements and a service.
class UpdateOf : public Rig {
 protected:
  void make(UpdateConfig config) {
    if (config.weight_decay.empty()) config.weight_decay = {0.0};
    if (config.params.empty()) config.params = {{7, 0, true}};
    service_ = std::make_unique<UpdateService>(*device_, config);
    double_ = config.master == ESP_F64;
    if (double_) {
      master_ = array<double>({kStart.begin(), kStart.end()}).data();
    } else {
      master_ = array(kStart).data();
    }
    for (uint32_t i = 0; i < service_->desc()->n_slots; ++i) {
      slots_[i] = arena_.alloc(ESP_DEVICE, 7 * sizeof(double), ESP_TAG_OPTIMIZER);
    }
  }

  esp_range range(const void* grad, esp_dtype grad_t = ESP_F32) {
    return {ESP_UPTO(esp_range, out_t), 0, 0, 7, master_, slots_, grad, nullptr, grad_t, ESP_F32};
  }

  // One whole step with a gradient; returns what the host reads.
  UpdateResult step(const std::vector<float>& values, double lr) {
    auto grad = array(values);
    service_->begin_step(index_, std::vector<double>{lr}, 1);
    service_->norm_add(grad.data(), 7, ESP_F32, compute());
    service_->norm_finish(nullptr, compute());
    const esp_range whole = range(grad.data());
    const esp_range* list[] = {&whole};
    service_->apply(list, compute());
    service_->end_step();
    return service_->result(index_++);
  }

  std::vector<double> weights() {
    sync();
    if (double_) return {static_cast<double*>(master_), static_cast<double*>(master_) + 7};
    return {static_cast<float*>(master_), static_cast<float*>(master_) + 7};
  }

  void expect_weights(const std::vector<float>& want, double tolerance = 2e-7) {
    const auto have = weights();
    for (size_t i = 0; i < 7; ++i) EXPECT_NEAR(have[i], want[i], tolerance * std::max(1.0f, std::abs(want[i]))) << i;
  }

  std::unique_ptr<UpdateService> service_;
  void* master_ = nullptr;
  void* slots_[2] = {};
  bool double_ = false;
  uint64_t index_ = 0;
};

UpdateConfig adamw() {
  UpdateConfig config;
  config.beta2 = 0.99;
  config.eps = 1e-6;
  config.weight_decay = {0.1};
  return config;
}

UpdateConfig sgd(double momentum = 0, double decay = 0) {
  UpdateConfig config;
  config.optimizer = OptimizerKind::kSgd;
  config.momentum = momentum;
  config.weight_decay = {decay};
  return config;
}

TEST_F(UpdateOf, AdamWFollowsTorch) {
  make(adamw());
  for (size_t i = 0; i < 4; ++i) {
    step(kGrads[i], kRates[i]);
    expect_weights(kAdamW[i]);
  }
  for (size_t i = 0; i < 7; ++i) {
    EXPECT_NEAR(static_cast<float*>(slots_[0])[i], kExpAvg[i], 1e-7);
    EXPECT_NEAR(static_cast<float*>(slots_[1])[i], kExpAvgSq[i], 1e-8);
  }
}

TEST_F(UpdateOf, AdamWInDoubleAgrees) {
  UpdateConfig config = adamw();
  config.master = ESP_F64;
  make(config);
  EXPECT_EQ(service_->desc()->master, ESP_F64);
  EXPECT_EQ(service_->desc()->slots[1]->dtype, ESP_F64);
  for (size_t i = 0; i < 4; ++i) step(kGrads[i], kRates[i]);
  expect_weights(kAdamW[3], 1e-6);
}

TEST_F(UpdateOf, SgdFollowsTorch) {
  make(sgd());
  EXPECT_EQ(service_->desc()->n_slots, 0u);
  for (size_t i = 0; i < 4; ++i) {
    step(kGrads[i], kRates[i]);
    expect_weights(kSgd[i]);
  }
}

TEST_F(UpdateOf, SgdWithMomentumAndDecayFollowsTorch) {
  make(sgd(0.9, 0.05));
  ASSERT_EQ(service_->desc()->n_slots, 1u);
  EXPECT_STREQ(service_->desc()->slots[0]->name, "momentum");
  for (size_t i = 0; i < 4; ++i) {
    step(kGrads[i], kRates[i]);
    expect_weights(kMomentum[i]);
  }
}

TEST_F(UpdateOf, ClipsByGlobalNormLikeTorch) {
  UpdateConfig config = sgd();
  config.clip_norm = 0.5;
  make(config);
  EXPECT_EQ(service_->desc()->flags, ESP_UPDATE_NORM | ESP_UPDATE_BARRIER);
  const UpdateResult result = step(kGrads[0], 1.0);
  EXPECT_NEAR(result.grad_norm, kNorm, 1e-6);
  expect_weights(kClipped);
}

TEST_F(UpdateOf, DoesNotClipASmallNorm) {
  UpdateConfig config = sgd();
  config.clip_norm = 100;
  make(config);
  step(kGrads[0], kRates[0]);
  expect_weights(kSgd[0]);
}

TEST_F(UpdateOf, RangesCutAnywhereGiveTheSameBits) {
  make(adamw());
  step(kGrads[0], kRates[0]);
  const auto whole = weights();
  slots_[0] = slots_[1] = nullptr;
  make(adamw());
  auto grad = array(kGrads[0]);
  service_->begin_step(0, std::vector<double>{kRates[0]}, 1);
  service_->norm_add(grad.data(), 7, ESP_F32, compute());
  service_->norm_finish(nullptr, compute());
  for (uint64_t cut : {0ull, 3ull}) {
    const uint64_t n = cut == 0 ? 3 : 4;
    void* slots[2] = {static_cast<float*>(slots_[0]) + cut, static_cast<float*>(slots_[1]) + cut};
    const esp_range part{
        ESP_UPTO(esp_range, out_t), 0,       cut,     n,      static_cast<float*>(master_) + cut, slots,
        grad.data() + cut,          nullptr, ESP_F32, ESP_F32};
    const esp_range* list[] = {&part};
    service_->apply(list, compute());
  }
  service_->end_step();
  EXPECT_EQ(weights(), whole);
  EXPECT_EQ(service_->applied_elements(), 7u);
  EXPECT_EQ(service_->norm_elements(), 7u);
}

TEST_F(UpdateOf, WritesTheHalfCopyAndReadsHalfGradients) {
  make(sgd());
  std::vector<c10::Half> halves;
  for (float g : kGrads[0]) halves.emplace_back(g);
  auto grad = array(halves);
  auto out = array(std::vector<c10::Half>(7));
  service_->begin_step(0, std::vector<double>{kRates[0]}, 1);
  service_->norm_add(grad.data(), 7, ESP_F16, compute());
  service_->norm_finish(nullptr, compute());
  esp_range whole = range(grad.data(), ESP_F16);
  whole.out = out.data();
  whole.out_t = ESP_F16;
  const esp_range* list[] = {&whole};
  service_->apply(list, compute());
  service_->end_step();
  expect_weights(kSgd[0], 1e-5);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(out[i].x, c10::Half(static_cast<float*>(master_)[i]).x);
}

TEST_F(UpdateOf, GroupsHaveTheirOwnRateAndDecay) {
  UpdateConfig config = sgd();
  config.weight_decay = {0.5, 0.0};
  config.params = {{7, 1, true}};
  make(config);
  auto grad = array(kGrads[0]);
  service_->begin_step(0, std::vector<double>{123.0, kRates[0]}, 1);
  service_->norm_add(grad.data(), 7, ESP_F32, compute());
  service_->norm_finish(nullptr, compute());
  const esp_range whole = range(grad.data());
  const esp_range* list[] = {&whole};
  service_->apply(list, compute());
  service_->end_step();
  expect_weights(kSgd[0]);
  EXPECT_EQ(service_->scalars()->n_groups, 2u);
  EXPECT_EQ(service_->scalars()->lr[0], 123.0f);
  EXPECT_EQ(service_->scalars()->weight_decay[0], 0.5f);
}

// The update reads gradients that wait for their norm once for both; parts of them, or others between, are read twice.
TEST_F(UpdateOf, TheNormIsThatOfTheGradientsWhetherTheUpdateReadsThemOrNot) {
  for (const uint64_t added_before : {7u, 4u}) {
    make(sgd());
    auto grad = array(kGrads[0]);
    service_->begin_step(0, std::vector<double>{kRates[0]}, 1);
    service_->norm_add(grad.data(), added_before, ESP_F32, compute());
    const esp_range whole = range(grad.data());
    const esp_range* list[] = {&whole};
    service_->apply(list, compute());
    service_->norm_add(grad.data() + added_before, 7 - added_before, ESP_F32, compute());
    service_->norm_finish(nullptr, compute());
    service_->end_step();
    expect_weights(kSgd[0]);
    EXPECT_NEAR(service_->result(0).grad_norm, kNorm, 1e-6);
    EXPECT_EQ(service_->norm_elements(), 7u);
  }
}

TEST_F(UpdateOf, TheSeedIsScaleTimesRanksOverSamples) {
  UpdateConfig config = sgd();
  config.data_size = 3;
  config.fp16 = true;
  config.scaler.init = 8;
  make(config);
  service_->begin_step(0, std::vector<double>{0.1}, 12);
  sync();
  EXPECT_EQ(*service_->loss_seed(), 2.0f);
}

TEST_F(UpdateOf, TheNormIsUnscaledBeforeClipping) {
  UpdateConfig config = sgd();
  config.fp16 = true;
  config.scaler.init = 1024;
  config.clip_norm = 0.5;
  make(config);
  std::vector<float> scaled = kGrads[0];
  for (float& g : scaled) g *= 1024;
  const UpdateResult result = step(scaled, 1.0);
  EXPECT_NEAR(result.grad_norm, kNorm, 1e-6);
  EXPECT_EQ(result.loss_scale, 1024.0f);
  expect_weights(kClipped);
}

TEST_F(UpdateOf, WithoutBarrierNonFiniteGradientsAreSeenAndApplied) {
  make(sgd());
  std::vector<float> bad = kGrads[0];
  bad[3] = std::nanf("");
  const UpdateResult result = step(bad, 1.0);
  EXPECT_TRUE(result.found_inf);
  EXPECT_FALSE(result.skipped);
  EXPECT_EQ(result.applied_steps, 1u);
  EXPECT_TRUE(std::isnan(weights()[3]));
}

TEST_F(UpdateOf, WithBarrierNonFiniteGradientsAreSkippedAndNotCounted) {
  UpdateConfig config = adamw();
  config.clip_norm = 1e9;
  make(config);
  std::vector<float> bad = kGrads[0];
  bad[3] = kInf;
  const UpdateResult result = step(bad, 1.0);
  EXPECT_TRUE(result.found_inf);
  EXPECT_TRUE(result.skipped);
  EXPECT_EQ(result.applied_steps, 0u);
  expect_weights(kStart, 0);
  for (size_t i = 0; i < 4; ++i) step(kGrads[i], kRates[i]);  // bias correction counts applied steps only
  expect_weights(kAdamW[3]);
  EXPECT_EQ(service_->state().applied_steps, 4u);
  EXPECT_EQ(service_->state().skipped_steps, 1u);
}

// Colossal-AI's description: overflows are counted; from the `hysteresis`-th on each halves; growth forgives them.
struct ScaleModel {
  float scale = 16, min = 2;
  uint32_t window = 3, hysteresis = 2, overflows = 0, good = 0;
  void advance(bool overflow) {
    if (overflow) {
      ++overflows;
      good = 0;
      if (overflows >= hysteresis) scale = std::max(scale * 0.5f, min);
    } else if (++good == window) {
      good = overflows = 0;
      scale *= 2;
    }
  }
};

TEST_F(UpdateOf, TheScaleFollowsHysteresisWindowAndFloor) {
  UpdateConfig config = sgd();
  config.fp16 = true;
  config.scaler = {16, 2, 3, 2};
  make(config);
  ScaleModel model;
  std::vector<float> bad = kGrads[0];
  bad[6] = kInf;
  uint64_t applied = 0;
  for (char c : std::string("xgggxxxgggxgxxxxxxgggggggxgxxxggggggg")) {
    const UpdateResult result = step(c == 'x' ? bad : kGrads[0], 1e-4);
    EXPECT_EQ(result.loss_scale, model.scale) << "step " << index_ - 1;
    EXPECT_EQ(result.skipped, c == 'x');
    applied += c != 'x';
    EXPECT_EQ(result.applied_steps, applied);
    model.advance(c == 'x');
  }
  EXPECT_EQ(service_->state().loss_scale, model.scale);
}

TEST_F(UpdateOf, AScalerThatIsRestoredContinues) {
  UpdateConfig config = sgd();
  config.fp16 = true;
  config.scaler = {16, 1, 3, 2};
  make(config);
  service_->restore({41, 7, 64, 2, 1});
  const UpdateResult result = step(kGrads[0], 1e-4);
  EXPECT_EQ(result.applied_steps, 42u);
  EXPECT_EQ(result.loss_scale, 64.0f);
  const UpdateState state = service_->state();
  EXPECT_EQ(state.loss_scale, 128.0f);
  EXPECT_EQ(state.skipped_steps, 7u);
  EXPECT_EQ(state.hysteresis_left, 2u);
}

TEST_F(UpdateOf, NormAddOnSeveralStreamsIsOrderedBeforeNormFinishAndThatBeforeApply) {
  UpdateConfig config = sgd();
  config.clip_norm = 0.5;
  make(config);
  auto first = device_->create_stream(ESP_STREAM_DEVICE, 0, "first");
  auto second = device_->create_stream(ESP_STREAM_DEVICE, 0, "second");
  auto third = device_->create_stream(ESP_STREAM_DEVICE, 0, "third");
  auto grad = array(std::vector<float>(7));  // filled late
  Gate gate;
  service_->begin_step(0, std::vector<double>{1.0}, 1);
  sync();
  device_->enqueue(*first, [&] {
    gate.pass();
    std::copy(kGrads[0].begin(), kGrads[0].begin() + 4, grad.begin());
  });
  device_->enqueue(*second, [&] {
    gate.pass();
    std::copy(kGrads[0].begin() + 4, kGrads[0].end(), grad.begin() + 4);
  });
  service_->norm_add(grad.data(), 4, ESP_F32, *first);
  service_->norm_add(grad.data() + 4, 3, ESP_F32, *second);
  service_->norm_finish(nullptr, compute());
  const esp_range whole = range(grad.data());
  const esp_range* list[] = {&whole};
  service_->apply(list, *third);
  gate.open();
  device_->drain();
  service_->end_step();
  EXPECT_NEAR(service_->result(0).grad_norm, kNorm, 1e-6);
  expect_weights(kClipped);
}

TEST_F(UpdateOf, ASecondPassHasANormOfItsOwn) {
  make(sgd());
  auto ones = array(std::vector<float>(4, 1.0f));
  auto twos = array(std::vector<float>(4, 2.0f));
  auto side = device_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  service_->begin_step(0, std::vector<double>{1.0}, 1);
  sync();
  service_->norm_add(ones.data(), 4, ESP_F32, *side);
  service_->norm_finish(nullptr, compute());
  service_->norm_add(twos.data(), 4, ESP_F32, *side);
  service_->norm_finish(nullptr, compute());
  device_->drain();
  service_->end_step();
  EXPECT_EQ(service_->result(0).grad_norm, 4.0);
}

TEST_F(UpdateOf, ResultsAreThereOneStepLaterWithoutBlockingTheStep) {
  make(sgd());
  Gate gate;
  step(kGrads[0], 1e-3);
  device_->enqueue(compute(), [&] { gate.pass(); });
  auto grad = array(kGrads[1]);
  service_->begin_step(1, std::vector<double>{1e-3}, 1);
  service_->norm_add(grad.data(), 7, ESP_F32, compute());
  service_->norm_finish(nullptr, compute());
  service_->end_step();  // all of step 1 is enqueued although the queue is stuck
  EXPECT_EQ(service_->result(0).step, 0u);
  gate.open();
  EXPECT_EQ(service_->result(1).step, 1u);
  EXPECT_EQ(caught([&] { service_->result(2); }).code, ExitCode::kInternal);
}

TEST_F(UpdateOf, RefusesWrongOrderAndWrongRanges) {
  UpdateConfig config = adamw();
  config.clip_norm = 1;
  config.params = {{7, 0, true}, {7, 0, false}};
  make(config);
  auto grad = array(kGrads[0]);
  esp_range whole = range(grad.data());
  const esp_range* list[] = {&whole};
  const auto refusal = [&] { return caught([&] { service_->apply(list, compute()); }); };
  EXPECT_EQ(refusal().code, ExitCode::kPlugin);  // outside a step
  service_->begin_step(0, std::vector<double>{0.1}, 1);
  EXPECT_NE(refusal().text.find("before norm_finish"), std::string::npos);
  EXPECT_NE(caught([&] { service_->end_step(); }).text.find("norm_finish"), std::string::npos);

  service_->begin_step(0, std::vector<double>{0.1}, 1);
  service_->norm_finish(nullptr, compute());
  whole.param = 2;
  EXPECT_NE(refusal().text.find("no such parameter"), std::string::npos);
  whole.param = 1;
  EXPECT_NE(refusal().text.find("frozen"), std::string::npos);
  whole.param = 0;
  whole.offset = 1;
  EXPECT_NE(refusal().text.find("[1, +7) of 7"), std::string::npos) << refusal().text;
  whole.offset = 0;
  whole.grad_t = ESP_U8;
  EXPECT_NE(refusal().text.find("U8"), std::string::npos);
  whole.grad_t = ESP_F32;
  void* no_slots[2] = {slots_[0], nullptr};
  whole.slots = no_slots;
  EXPECT_NE(refusal().text.find("exp_avg_sq"), std::string::npos);
  service_->end_step();
}

TEST(ScalerOf, TakesTheDefaultsForZeros) {
  esp_plan plan{};
  EXPECT_EQ(scaler_of(plan).init, 65536.0f);
  EXPECT_EQ(scaler_of(plan).window, 1000u);
  EXPECT_EQ(scaler_of(plan).hysteresis, 2u);
  EXPECT_EQ(scaler_of(plan).min, 1.0f);
  plan.scale_init = 32;
  plan.scale_window = 5;
  EXPECT_EQ(scaler_of(plan).init, 32.0f);
  EXPECT_EQ(scaler_of(plan).window, 5u);
}

}  // namespace
}  // namespace esp::runtime::test
