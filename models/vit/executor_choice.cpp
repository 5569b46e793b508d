#include "executor_choice.hpp"

#include <espalier/failure.hpp>

#include "activation_plan.hpp"

namespace esp::vit {
namespace {

std::string obstacle(const esp_run& run, const fused::ModelShape& shape) {
  if (run.device_kind != ESP_CUDA) return "it needs a CUDA device";
  if (run.precision == ESP_PRECISION_FP32 || run.precision == ESP_PRECISION_TF32) {
    return "it computes in bf16 and fp16 only";
  }
  const std::string why = fused::refusal(shape);
  return why.empty() ? why : "it does not compute this model: " + why;
}

}  // namespace

ExecutorChoice choose_executor(const std::string& wanted, const esp_run& run, const fused::ModelShape& shape) {
  if (wanted == "reference") return {};
  const std::string why = obstacle(run, shape);
  if (why.empty()) return {true, ""};
  if (wanted == "fused")
    fail(ESP_E_UNSUPPORTED, "model.executor = \"fused\": ", why, "; use \"auto\" or \"reference\"");
  // Nobody expects CUDA kernels on a CPU.
  if (run.device_kind != ESP_CUDA) return {};
  return {false, "computed by the reference executor, not by the fused one: " + why};
}

bool is_half(esp_dtype dtype) { return dtype == ESP_BF16 || dtype == ESP_F16; }

std::vector<std::string> recompute_levels(bool fused) {
  if (fused) return {"none", "gelu", "gelu+norm", "block"};
  return {"none", "block"};
}

uint32_t reference_level(const std::string& name) {
  if (name == "none") return static_cast<uint32_t>(Recompute::kNone);
  if (name == "block") return static_cast<uint32_t>(Recompute::kBlock);
  fail(ESP_E_UNSUPPORTED, "model.recompute = \"", name,
       "\" is the fused executor's, and this run is computed by the reference: use \"none\" or \"block\"");
}

}  // namespace esp::vit
