// Group models: each unit of a model forward and backward, as the host does it on a CPU.
#include <algorithm>
#include <string>
#include <vector>

#include "verify/model_checks.hpp"

namespace esp::verify {
namespace {

constexpr const char* kPrecisions[] = {"default", "fp32", "tf32", "bf16", "fp16"};

// What a model tells about itself: asked in a process of its own, as everything is that runs its code.
struct Facts {
  std::vector<uint32_t> precisions;
  std::vector<std::string> units, levels;
  bool known = false;
};

Facts facts_of(const ModelSubject& subject) {
  const auto ask = [subject](Findings& findings) {
    const OptionSet values = subject.values();
    ModelWorld model(*subject.component, values, {}, findings);
    if (!model.create()) return;
    const esp_model_desc& desc = model.desc();
    for (uint32_t i = 0; i < desc.n_precisions; ++i) {
      std::string precision = "p";
      findings.note(precision += std::to_string(desc.precisions[i]));
    }
    for (uint32_t i = 0; i < desc.n_units; ++i) findings.note(std::string("u") + desc.units[i]->name);
    for (uint32_t i = 0; i < desc.n_recompute; ++i) findings.note(std::string("l") + desc.recompute[i]);
  };
  const TestResult answer = run_test({"", "", ask, ""}, subject.options.limit_s);
  Facts facts;
  for (const std::string& note : answer.notes) {
    const std::string rest = note.substr(1);
    if (note[0] == 'p') facts.precisions.push_back(static_cast<uint32_t>(std::stoul(rest)));
    if (note[0] == 'u') facts.units.push_back(rest);
    if (note[0] == 'l') facts.levels.push_back(rest);
  }
  facts.known = answer.verdict == Verdict::kPassed && !facts.units.empty() && !facts.levels.empty();
  return facts;
}

using Check = void (*)(const ModelSubject&, Findings&);

constexpr unsigned kPatience = 6;  // models compute, and their defaults may be large

class Tests {
 public:
  explicit Tests(ModelSubject subject) : subject_(std::move(subject)) {}

  void add(const std::string& name, Check check, const std::string& skip = "") {
    add_any(
        name, [subject = subject_, check](Findings& findings) { check(subject, findings); }, skip);
  }
  void add(const std::string& name, void (*check)(const ModelSubject&, uint32_t, Findings&), uint32_t number,
           const std::string& skip = "") {
    add_any(
        name, [subject = subject_, check, number](Findings& findings) { check(subject, number, findings); }, skip);
  }
  // The same for what a capability promises.
  void add_promised(const std::string& name, Check check, uint64_t bit, const char* capability) {
    const bool declared = (subject_.component->component.caps & bit) != 0;
    add(name, check, declared ? "" : std::string("the component does not declare ") + capability);
  }
  std::vector<TestCase> take() { return std::move(cases_); }

 private:
  void add_any(const std::string& name, std::function<void(Findings&)> run, const std::string& skip) {
    cases_.push_back({"models", name, std::move(run), skip, kPatience});
  }
  ModelSubject subject_;
  std::vector<TestCase> cases_;
};

// On a CPU every offered precision but TF32, which is one of GPUs.
void add_precisions(const Facts& facts, Tests& tests) {
  for (const uint32_t precision : facts.precisions) {
    if (precision == ESP_PRECISION_TF32 || precision > ESP_PRECISION_FP16) continue;
    const std::string name = kPrecisions[precision];
    tests.add("training-" + name, trains, precision);
    if (precision != ESP_PRECISION_FP32) tests.add("alike-" + name, computes_alike, precision);
  }
}

void add_behaviour(const Facts& facts, Tests& tests) {
  tests.add("write-modes", heeds_write_modes);
  tests.add("passes", heeds_passes);
  tests.add("loss-seed", scales_by_the_seed);
  tests.add("padding", ignores_padding);
  tests.add("evaluation", evaluates);
  tests.add("frozen-parameters", freezes);
  tests.add_promised("inference", infers, ESP_CAP_INFER, "ESP_CAP_INFER");
  tests.add_promised("rebinding", follows_binds, ESP_CAP_ALIAS_REBIND, "ESP_CAP_ALIAS_REBIND");
  tests.add_promised("equal-bits", repeats_itself, ESP_CAP_DETERMINISTIC, "ESP_CAP_DETERMINISTIC");
  for (uint32_t level = 0; level < facts.levels.size(); ++level) {
    if (level > 0) tests.add("recompute-" + facts.levels[level], recomputes, level);
    tests.add("memory-" + facts.levels[level], keeps_to_its_plan, level);
  }
}

}  // namespace

std::vector<TestCase> model_tests(const ModuleComponent& component, const VerifyOptions& options) {
  if ((component.component.caps & ESP_CAP_CPU) == 0) {
    return {{"models", component.component.id, {}, "it does not declare ESP_CAP_CPU"}};
  }
  ModelSubject subject{&component, options};
  const Facts facts = facts_of(subject);
  const auto offers = [&](uint32_t precision) {
    return std::find(facts.precisions.begin(), facts.precisions.end(), precision) != facts.precisions.end();
  };
  for (const uint32_t precision : {ESP_PRECISION_FP16, ESP_PRECISION_BF16, ESP_PRECISION_FP32}) {
    if (offers(precision)) subject.precision = precision;
  }
  Tests tests(subject);
  tests.add("description", describes_itself);
  if (!facts.known) return tests.take();  // that test says why
  tests.add("plan", plans);
  tests.add("initial-values", initial_values_are_a_function);
  tests.add("leaves-nothing", leaves_nothing_behind);
  tests.add("each-allocation-refused", survives_refused_memory);
  add_precisions(facts, tests);
  add_behaviour(facts, tests);
  tests.add("save-and-load", saves_and_loads);
  const bool full = subject.precision == ESP_PRECISION_FP32;
  for (uint32_t unit = 0; unit < facts.units.size(); ++unit) {
    tests.add("gradient-" + facts.units[unit], differentiates, unit, full ? "" : "it does not offer fp32");
  }
  if ((component.component.caps & ESP_CAP_CAPTURE_STEP) != 0) {
    tests.add("capture", {}, "steps are captured on GPUs only");
  }
  return tests.take();
}

}  // namespace esp::verify
