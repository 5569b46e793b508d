#include "verify/model_description.hpp"

#include <espalier/host.h>

#include <cmath>
#include <set>
#include <string>

namespace esp::verify {
namespace {

class Description {
 public:
  Description(const esp_model_desc& desc, Findings& findings) : desc_(desc), findings_(findings) {}

  void check() {
    expect(desc_.n_params > 0 && desc_.n_units > 0, "there are no parameters or no units");
    expect(desc_.name != nullptr && *desc_.name != '\0', "it has no name");
    expect(desc_.n_classes > 0, "it has no classes");
    for (uint32_t i = 0; i < desc_.n_params; ++i) check_param(i);
    for (uint32_t i = 0; i < desc_.n_units; ++i) check_unit(i);
    for (uint32_t i = 0; i < desc_.n_inputs; ++i) check_input(*desc_.inputs[i]);
    check_offers();
  }

 private:
  void expect(bool holds, const std::string& otherwise) {
    if (!holds) findings_.add("MODEL-01", otherwise, {"describe"});
  }

  void check_param(uint32_t i) {
    const esp_param& param = *desc_.params[i];
    const std::string name = "parameter " + std::to_string(i);
    expect(param.id == i, name + " has id " + std::to_string(param.id));
    expect(param.name != nullptr && *param.name != '\0', name + " has no name");
    if (param.name != nullptr) {
      expect(param_names_.insert(param.name).second, std::string(param.name) + " is the name of two parameters");
    }
    uint64_t numel = 1;
    for (uint32_t d = 0; d < param.ndim; ++d) numel *= static_cast<uint64_t>(param.shape[d]);
    expect(numel == param.numel,
           name + " has " + std::to_string(param.numel) + " elements, its shape " + std::to_string(numel));
  }

  void check_unit(uint32_t i) {
    const esp_unit& unit = *desc_.units[i];
    const std::string name = "unit " + std::to_string(i);
    expect(unit.name != nullptr && *unit.name != '\0', name + " has no name");
    std::set<uint32_t> uses;
    for (uint32_t u = 0; u < unit.n_uses; ++u) {
      expect(unit.uses[u] < desc_.n_params,
             name + " uses parameter " + std::to_string(unit.uses[u]) + ", which does not exist");
      expect(uses.insert(unit.uses[u]).second, name + " lists parameter " + std::to_string(unit.uses[u]) + " twice");
    }
    expect(desc_.unit_flops != nullptr && std::isfinite(desc_.unit_flops[i]) && desc_.unit_flops[i] >= 0,
           name + " has no sensible number of FLOPs");
  }

  void check_input(const esp_field& field) {
    const std::string name = field.name == nullptr ? "" : field.name;
    expect(!name.empty(), "an input has no name");
    if (name == "pixels") {
      expect(field.dtype == ESP_U8 && field.ndim == 3 && field.shape[2] == 3, "pixels are not U8 [height, width, 3]");
    }
    if (name == "flip") expect(field.dtype == ESP_U8 && field.ndim == 0, "flip is not one U8");
    if (name == "label") expect(field.dtype == ESP_I64 && field.ndim == 0, "label is not one I64");
  }

  void check_offers() {
    expect(desc_.n_recompute > 0, "there is no recompute level, not even the one that saves everything");
    for (uint32_t i = 0; i < desc_.n_recompute; ++i) {
      expect(desc_.recompute[i] != nullptr && *desc_.recompute[i] != '\0',
             "recompute level " + std::to_string(i) + " has no name");
    }
    expect(desc_.n_precisions > 0, "it runs in no precision");
    for (uint32_t i = 0; i < desc_.n_precisions; ++i) {
      const uint32_t precision = desc_.precisions[i];
      expect(precision >= ESP_PRECISION_FP32 && precision <= ESP_PRECISION_FP16,
             "precision " + std::to_string(precision) + " is none");
    }
  }

  const esp_model_desc& desc_;
  Findings& findings_;
  std::set<std::string> param_names_;
};

}  // namespace

void check_description(const esp_model_desc& desc, Findings& findings) { Description(desc, findings).check(); }

}  // namespace esp::verify
