#include "runtime/train/model_folder.hpp"
#include "runtime/train/session.hpp"

namespace esp::runtime {

void export_weights(const Job& job, Observer& observer) {
  const auto device = make_cpu_device(1);
  const LogSink log = [&](uint32_t level, const std::string& who, const std::string& text) {
    observer.log(level, who, text);
  };
  const Callee callee{job.model.library + ":" + job.model.component->id, ESP_MODEL, job.phases, {}};
  ServiceOptions options;
  options.kind = ESP_MODEL;
  options.component = callee.name;
  options.log = log;
  HostServices services(*device, nullptr, std::move(options));
  esp_run run{};
  run.struct_size = sizeof run;
  run.mode = ESP_MODE_INFER;
  run.world = 1;
  run.device_kind = ESP_CPU;
  run.seed = job.config.run.seed;
  // No classes: the weights know their own.
  const esp_config config{
      sizeof(esp_config), static_cast<uint32_t>(job.model.values.size()), job.model.values.data(), &run, nullptr, 0, 0};
  Model model(job.model, callee, ESP_MODEL_ID, services.host(), &config);
  const esp_model_desc* description = nullptr;
  model.call("describe", &esp_model_v1::describe, &description);
  std::vector<std::vector<float>> values;
  for (uint32_t i = 0; i < description->n_params; ++i) {
    values.emplace_back(description->params[i]->numel);
    model.call("init_range", &esp_model_v1::init_range, i, run.seed, uint64_t{0}, values.back().size(),
               values.back().data());
  }
  write_model_folder(model, values, job.model_folder, job.model_dtype);
}

}  // namespace esp::runtime
