// The same numbers as transformers.
#include <gtest/gtest.h>

#include <list>
#include <nlohmann/json.hpp>

#include "io/safetensors_file.hpp"
#include "io/safetensors_writer.hpp"
#include "io/strict_json.hpp"
#include "model_rig.hpp"
#include "scratch.hpp"

namespace esp::vit::test {
namespace {

// Writes the golden checkpoint as one whose config has no q/k/v biases.
std::string weights_without_biases(const ScratchFolder& scratch) {
  const std::string folder = scratch / "unbiased";
  copy_golden(folder);
  nlohmann::json config = read_object(folder + "/config.json");
  config["qkv_bias"] = false;
  write_file(folder + "/config.json", config.dump());
  const SafetensorsFile file(golden_path("tiny/model.safetensors"));
  std::list<std::vector<float>> values;
  std::vector<TensorToWrite> tensors;
  for (const TensorEntry& entry : file.header().tensors) {
    const bool is_bias = entry.name.find("attention.attention.") != std::string::npos && entry.shape.size() == 1;
    if (is_bias) continue;
    file.read_floats(entry, 0, entry.numel, values.emplace_back(entry.numel).data());
    tensors.push_back({entry.name, {entry.shape.begin(), entry.shape.end()}, values.back().data()});
  }
  write_safetensors(folder + "/model.safetensors", tensors, ESP_F32);
  return folder;
}

RigSetup setup_of(const nlohmann::json& golden, const std::string& weights) {
  RigSetup setup;
  setup.options.weights = weights;
  setup.options.image_size = golden.at("size");
  return setup;
}

void expect_answers(const RigSetup& setup, const nlohmann::json& golden) {
  ModelRig rig(setup);
  rig.loss_seed = 1.0f / 3;
  const Batch batch = formula_batch(3, golden.at("size"));
  rig.step({batch});
  double losses = 0, norms = 0;
  for (const double loss : golden.at("losses")) losses += loss;
  EXPECT_NEAR(rig.loss_sum / losses, 1, 1e-5);
  for (const auto& [name, norm] : golden.at("grad_norms").items()) norms = std::max(norms, norm.get<double>());
  for (uint32_t i = 0; i < rig.desc().n_params; ++i) {
    const double norm = golden.at("grad_norms").at(rig.desc().params[i]->name);
    EXPECT_NEAR(rig.grads[i].to(at::kDouble).norm().item<double>(), norm, 1e-5 * norm + 1e-7 * norms)
        << rig.desc().params[i]->name;
  }
  EXPECT_EQ(golden.at("grad_norms").size(), rig.desc().n_params);

  rig.loss_sum = 0;
  rig.correct = 0;
  rig.evaluate(batch);
  EXPECT_NEAR(rig.loss_sum / losses, 1, 1e-5);
  uint64_t correct = 0;
  for (size_t row = 0; row < 3; ++row) {
    const std::vector<double> logits = golden.at("logits")[row];
    const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    EXPECT_EQ(rig.predicted[row], best) << row;
    correct += best == golden.at("labels")[row].get<int32_t>();
  }
  EXPECT_EQ(rig.correct, correct);
}

TEST(Golden, LossGradientsAndPredictionsEqualTransformers) {
  const auto golden = nlohmann::json::parse(read_file(golden_path("golden.json"))).at("same");
  expect_answers(setup_of(golden, golden_path("tiny")), golden);
}

TEST(Golden, AnotherResolutionEqualsTransformersInterpolation) {
  auto golden = nlohmann::json::parse(read_file(golden_path("golden.json"))).at("resized");
  // transformers keeps the grid of the file as its parameter, here the resized one is it: no norm to compare with.
  const RigSetup setup = setup_of(golden, golden_path("tiny"));
  ModelRig rig(setup);
  rig.evaluate(formula_batch(3, golden.at("size")));
  double losses = 0;
  for (const double loss : golden.at("losses")) losses += loss;
  EXPECT_NEAR(rig.loss_sum / losses, 1, 1e-5);
}

TEST(Golden, AModelWithoutQueryKeyValueBiasesEqualsTransformers) {
  const auto golden = nlohmann::json::parse(read_file(golden_path("golden.json"))).at("without_qkv_bias");
  const ScratchFolder scratch;
  expect_answers(setup_of(golden, weights_without_biases(scratch)), golden);
}

}  // namespace
}  // namespace esp::vit::test
