// What surrounds a model's steps: initial values, memory, files, instances.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <thread>

#include "error.hpp"
#include "verify/leftovers.hpp"
#include "verify/model_checks.hpp"
#include "verify/settings.hpp"

namespace esp::verify {
namespace {

std::unique_ptr<ModelWorld> described(const ModelSubject& subject, const OptionSet& values, Findings& findings) {
  auto model = std::make_unique<ModelWorld>(*subject.component, values, subject.scenario(), findings);
  if (!model->create()) throw Skip{"refused: " + model->refusal};
  return model;
}

// Of a parameter's elements [lo, hi), with one more on either side that must stay.
std::vector<float> part(ModelWorld& model, uint32_t param, uint64_t lo, uint64_t hi, Findings& findings) {
  constexpr float kGuard = -12345;
  std::vector<float> room(hi - lo + 2, kGuard);
  if (!model.initial_values(param, lo, hi, room.data() + 1)) throw Skip{"init_range failed"};
  if (room.front() != kGuard || room.back() != kGuard) {
    findings.add("MODEL-06", "elements beside [lo, hi) were written", {"init_range"});
  }
  return {room.begin() + 1, room.end() - 1};
}

class Folder {
 public:
  Folder() {
    std::string path = (std::filesystem::temp_directory_path() / "espalier-verify-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) throw Error(ExitCode::kResource, path + ": cannot be made");
    path_ = path;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

bool has_option(const ModuleComponent& component, const std::string& key) {
  return std::any_of(component.option_list.begin(), component.option_list.end(),
                     [&](const esp_option* option) { return key == option->key; });
}

}  // namespace

void initial_values_are_a_function(const ModelSubject& subject, Findings& findings) {
  const OptionSet values = subject.values();
  const auto model = described(subject, values, findings), other = described(subject, values, findings);
  const auto differs = [&](uint32_t param, const std::string& what) {
    findings.add("MODEL-03", std::string(model->desc().params[param]->name) + ": " + what, {"init_range"});
  };
  for (uint32_t param = model->desc().n_params; param-- > 0;) {
    const uint64_t n = model->desc().params[param]->numel;
    if (n == 0) continue;
    const std::vector<float> whole = part(*model, param, 0, n, findings);
    const auto bad = std::find_if(whole.begin(), whole.end(), [](float v) { return !std::isfinite(v); });
    if (bad != whole.end()) differs(param, "element " + std::to_string(bad - whole.begin()) + " is not finite");
    std::vector<float> parts[2];
    std::thread beside([&] { parts[1] = part(*other, param, n / 3, n, findings); });
    parts[0] = part(*model, param, 0, n / 3, findings);
    beside.join();
    parts[0].insert(parts[0].end(), parts[1].begin(), parts[1].end());
    if (parts[0] != whole) differs(param, "two parts, from two instances and threads, are not the whole");
  }
}

void keeps_to_its_plan(const ModelSubject& subject, uint32_t level, Findings& findings) {
  constexpr double kRoom = 1.25;            // a plan is an estimate
  constexpr uint64_t kSmall = 1024 * 1024;  // what nobody plans: shapes, seeds, alignment
  const OptionSet values = subject.values();
  ModelScenario scenario = subject.scenario();
  scenario.recompute = level;
  ModelWorld model(*subject.component, values, scenario, findings);
  if (!model.start()) throw Skip{"refused: " + model.refusal};
  uint64_t planned = model.need().workspace_bytes;
  for (uint32_t unit = 0; unit < model.desc().n_units; ++unit) {
    planned += model.need().activation_bytes[size_t{level} * model.desc().n_units + unit];
  }
  model.begin_step(0);
  if (!model.train(0)) throw Skip{"a step failed"};
  uint64_t by_tag[ESP_N_TAGS];
  if (!model.memory_stats(by_tag)) throw Skip{"it has no memory_stats and takes nothing from esp.memory"};
  const uint64_t taken = by_tag[ESP_TAG_ACTIVATION] + by_tag[ESP_TAG_WORKSPACE];
  const std::string text =
      std::to_string(taken) + " bytes of activations and workspace were taken, " + std::to_string(planned) + " planned";
  findings.note(text);
  if (static_cast<double>(taken) > kRoom * static_cast<double>(planned) + kSmall) {
    findings.add("MODEL-16", text, {"memory_stats"});
  }
}

void saves_and_loads(const ModelSubject& subject, Findings& findings) {
  const Folder folder;
  std::vector<std::vector<float>> saved;
  {
    const OptionSet values = subject.values();
    const auto model = described(subject, values, findings);
    for (uint32_t param = 0; param < model->desc().n_params; ++param) {
      const uint64_t n = model->desc().params[param]->numel;
      saved.push_back(part(*model, param, 0, n, findings));
      for (uint64_t i = 0; i < n; ++i) saved.back()[i] = 0.5f * saved.back()[i] + 0.01f * static_cast<float>(i % 7);
    }
    if (!model->save(folder.path(), saved)) throw Skip{"refused: " + model->refusal};
  }
  if (!has_option(*subject.component, "weights")) throw Skip{"it has no option `weights` to read the folder again"};
  GivenValues given = subject.options.values;
  given["weights"] = folder.path();
  const OptionSet values = option_values(*subject.component, given);
  ModelScenario scenario = subject.scenario();
  ++scenario.seed;
  ModelWorld model(*subject.component, values, scenario, findings);
  if (!model.create()) {
    findings.add("MODEL-17", "it refuses the folder that it has written: " + model.refusal, {"create"});
    return;
  }
  for (uint32_t param = 0; param < model.desc().n_params; ++param) {
    if (part(model, param, 0, model.desc().params[param]->numel, findings) == saved[param]) continue;
    findings.add("MODEL-17", std::string(model.desc().params[param]->name) + " comes back with other values",
                 {"init_range"});
    return;
  }
}

void leaves_nothing_behind(const ModelSubject& subject, Findings& findings) {
  const OptionSet values = subject.values();
  const auto once = [&] {
    const auto model = described(subject, values, findings);
    if (!model->plan() || !model->prepare()) throw Skip{"refused: " + model->refusal};
  };
  check_leftovers(once, 12, findings);
}

void survives_refused_memory(const ModelSubject& subject, Findings& findings) {
  const OptionSet values = subject.values();
  for (int64_t number = 0; number < 1000; ++number) {
    ModelScenario scenario = subject.scenario();
    scenario.refuse_allocation = number;
    ModelWorld model(*subject.component, values, scenario, findings);
    const bool started = model.start();
    const bool asked = model.allocations_asked() > static_cast<uint64_t>(number);
    if (started && asked) {
      findings.add("MEM-06", "prepare succeeds without allocation " + std::to_string(number), {"prepare"});
    }
    if (!asked && number == 0) throw Skip{"it takes nothing from esp.memory"};
    if (!asked) return;
  }
}

}  // namespace esp::verify
