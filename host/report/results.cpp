#include "report/results.hpp"

#include <algorithm>

#include "report/json_text.hpp"
#include "report/number_text.hpp"
#include "report/result_keys.hpp"
#include "report/table.hpp"

namespace esp {
namespace {

using Json = nlohmann::ordered_json;

constexpr unsigned kNamedTags = ESP_TAG_INPUT + 1;  // the ABI leaves room for more

template <class T, class Get>
Json or_null(const std::optional<T>& value, Get get) {
  return value ? Json(get(*value)) : Json(nullptr);
}

double per_second(double count, double seconds) { return seconds > 0 ? count / seconds : 0.0; }

void add_evaluation(Json& json, const RunSummary& summary) {
  const auto& evaluation = summary.finish.evaluation;
  json["eval_split"] = or_null(evaluation, [](const auto& e) { return e.split; });
  json["eval_loss"] = or_null(evaluation, [](const auto& e) { return e.loss; });
  json["eval_accuracy"] = or_null(evaluation, [](const auto& e) { return accuracy(e); });
  json["eval_correct"] = or_null(evaluation, [](const auto& e) { return e.correct; });
  json["eval_samples"] = or_null(evaluation, [](const auto& e) { return e.samples; });
  Json classes = Json::object();
  const size_t n = evaluation ? std::min(evaluation->class_samples.size(), summary.start.classes.size()) : 0;
  for (size_t i = 0; i < n; ++i) {
    classes[summary.start.classes[i]] = {{"correct", evaluation->class_correct.at(i)},
                                         {"samples", evaluation->class_samples[i]}};
  }
  json["eval_classes"] = classes;
}

Json memory_json(const runtime::TagBytes& by_tag) {
  Json tags = Json::object();
  for (unsigned tag = 0; tag < ESP_N_TAGS; ++tag) {
    if (tag < kNamedTags || by_tag[tag] > 0) tags[memory_tag_name(tag)] = by_tag[tag];
  }
  return tags;
}

void add_memory(Json& json, const runtime::MemoryReport& memory) {
  json[keys::kPeakAllocatedBytes] = memory.peak_allocated_bytes;
  json[keys::kPeakDeviceBytes] = memory.peak_device_bytes;
  json[keys::kMemoryBytes] = memory_json(memory.by_tag.both);
  json[keys::kMemoryBytesDevice] = memory_json(memory.by_tag.device);
  json[keys::kMemoryBytesPinned] = memory_json(memory.by_tag.pinned);
  const auto& predicted = memory.predicted_by_tag;
  json["memory_bytes_predicted"] = or_null(predicted, [](const auto& tags) { return memory_json(tags.both); });
  json["memory_bytes_device_predicted"] = or_null(predicted, [](const auto& tags) { return memory_json(tags.device); });
  json["memory_bytes_pinned_predicted"] = or_null(predicted, [](const auto& tags) { return memory_json(tags.pinned); });
}

// What rank 0 did in a step, on average.
void add_collectives(Json& json, const runtime::FinishReport& finish) {
  const auto per_step = [&](const runtime::CollectiveReport& all) -> Json {
    const auto steps = static_cast<double>(std::max<int64_t>(finish.steps, 1));
    return {{keys::kCalls, static_cast<double>(all.calls) / steps},
            {keys::kBytes, static_cast<double>(all.bytes) / steps}};
  };
  json[keys::kCollectivesPerStep] = {{"all_reduce", per_step(finish.all_reduce)},
                                     {"reduce_scatter", per_step(finish.reduce_scatter)},
                                     {"all_gather", per_step(finish.all_gather)}};
}

void add_energy(Json& json, const runtime::FinishReport& finish) {
  const auto& energy = finish.energy;
  json[keys::kJoulesPerStep] = or_null(energy, [](const auto& e) { return e.joules / static_cast<double>(e.steps); });
  json[keys::kJoulesPerSample] =
      or_null(energy, [](const auto& e) { return e.joules / static_cast<double>(e.samples); });
}

std::string batch_text(const runtime::StartReport& start) {
  return std::to_string(start.batch.global_batch) + " = " + std::to_string(start.batch.micro_batch) + " x " +
         std::to_string(start.batch.accumulation) + " x " + std::to_string(start.world) +
         " (micro-batch x accumulation x ranks)";
}

std::string step_times_text(const StepTimes& times) {
  std::string text = fixed(times.median, 2) + " (p5 " + fixed(times.p5, 2) + ", p95 " + fixed(times.p95, 2) + ")";
  if (times.warmup > 0)
    text += " without " + std::to_string(times.warmup) + " warm-up step" + (times.warmup > 1 ? "s" : "");
  return text;
}

std::string measured_text(uint64_t bytes, std::optional<uint64_t> predicted) {
  return rounded_bytes_text(bytes) + (predicted ? " (predicted " + rounded_bytes_text(*predicted) + ")" : "");
}

void add_memory_rows(KeyValueTable& table, const RunSummary& summary) {
  const runtime::MemoryReport& memory = summary.finish.memory;
  const auto predicted = [&](runtime::TagBytes runtime::MemoryByTag::*place, unsigned tag) {
    return memory.predicted_by_tag ? std::optional(((*memory.predicted_by_tag).*place)[tag]) : std::nullopt;
  };
  for (const auto& [place, name] :
       {std::pair(&runtime::MemoryByTag::device, ""), std::pair(&runtime::MemoryByTag::pinned, ", pinned")}) {
    for (unsigned tag = 0; tag < ESP_N_TAGS; ++tag) {
      const uint64_t bytes = (memory.by_tag.*place)[tag];
      const auto planned = predicted(place, tag);
      if (bytes == 0 && planned.value_or(0) == 0) continue;
      table.add("peak " + memory_tag_name(tag) + name, measured_text(bytes, planned));
    }
  }
  table.add("peak allocated", rounded_bytes_text(memory.peak_allocated_bytes));
  const bool cpu = summary.options.device == "cpu";
  table.add(cpu ? "peak resident set" : "peak of the device", rounded_bytes_text(memory.peak_device_bytes));
}

}  // namespace

double RunSummary::train_samples_per_second() const {
  return per_second(static_cast<double>(finish.trained_samples), finish.train_seconds);
}

std::string memory_tag_name(unsigned tag) {
  static constexpr const char* kNames[] = {"other",   "parameters",  "gradients", "optimizer",
                                           "buckets", "activations", "workspace", "input"};
  return tag < kNamedTags ? kNames[tag] : "tag_" + std::to_string(tag);
}

std::string results_json(const RunSummary& summary) {
  const auto& [options, start, finish, times, epoch] = summary;
  const double rate = summary.train_samples_per_second();
  Json json;
  json[keys::kPlugin] = options.plugin;
  json["model_module"] = options.model_module;
  json[keys::kModel] = start.model_name;
  json["data"] = start.data_name;
  json[keys::kDevice] = options.device;
  json[keys::kDeviceName] = start.device_name;
  json[keys::kPrecision] = start.precision;
  json[keys::kWorldSize] = start.world;
  json[keys::kBatchSize] = start.batch.micro_batch;
  json["accumulation_steps"] = start.batch.accumulation;
  json[keys::kGlobalBatchSize] = start.batch.global_batch;
  json["num_parameters"] = start.n_params;
  json["num_trainable_parameters"] = start.n_trainable;
  json["epoch"] = epoch;
  json["steps"] = finish.steps;
  json["skipped_steps"] = finish.skipped_steps;
  json[keys::kTrainSamples] = finish.trained_samples;
  json[keys::kTrainLoss] = finish.steps > 0 ? Json(finish.train_loss) : Json(nullptr);
  json[keys::kTrainRuntime] = finish.train_seconds;
  json["train_samples_per_second"] = rate;
  json["train_steps_per_second"] = per_second(static_cast<double>(finish.steps), finish.train_seconds);
  json[keys::kStepMsMedian] = or_null(times, [](const auto& t) { return t.median; });
  json[keys::kStepMsP5] = or_null(times, [](const auto& t) { return t.p5; });
  json[keys::kStepMsP95] = or_null(times, [](const auto& t) { return t.p95; });
  json["warmup_steps_left_out"] = or_null(times, [](const auto& t) { return t.warmup; });
  add_evaluation(json, summary);
  add_memory(json, finish.memory);
  add_collectives(json, finish);
  json[keys::kExposedCommunicationMs] = or_null(finish.exposed_communication_ms, [](double ms) { return ms; });
  add_energy(json, finish);
  json[keys::kModelFlopsPerSample] = finish.model_flops_per_sample;
  json[keys::kModelFlopsPerSecond] = finish.model_flops_per_sample * rate;
  json[keys::kMfu] = nullptr;  // no figure for the peak of a CPU would be honest
  json["model_folder"] = finish.model_folder.empty() ? Json(nullptr) : Json(finish.model_folder);
  return json_text(json, 2) + "\n";
}

void print_summary(std::ostream& out, const RunSummary& summary) {
  const auto& [options, start, finish, times, epoch] = summary;
  KeyValueTable table;
  table.add("plugin", options.plugin);
  table.add("model", start.model_name + ", " + fixed(static_cast<double>(start.n_params) / 1e6, 2) + " M parameters");
  table.add("data", start.data_name);
  table.add("device", start.device_name.empty() ? options.device : start.device_name);
  table.add("precision", start.precision);
  table.add("ranks", std::to_string(start.world));
  table.add("batch", batch_text(start));
  table.add("steps", std::to_string(finish.steps) + " (" + fixed(epoch, 2) + " epochs)");
  if (finish.skipped_steps > 0) table.add("skipped steps", std::to_string(finish.skipped_steps));
  table.add("train loss", fixed(finish.train_loss, 4));
  if (const auto& evaluation = finish.evaluation) {
    table.add(evaluation->split + " loss", fixed(evaluation->loss, 4));
    table.add(evaluation->split + " accuracy", share_text(evaluation->correct, evaluation->samples));
  }
  table.add("samples/s", fixed(summary.train_samples_per_second(), 1));
  if (times) table.add("step ms, median", step_times_text(*times));
  if (start.world > 1 && finish.exposed_communication_ms) {
    table.add("exposed communication, ms a step", fixed(*finish.exposed_communication_ms, 2));
  }
  if (finish.energy) {
    table.add("joules a sample", fixed(finish.energy->joules / static_cast<double>(finish.energy->samples), 3));
  }
  add_memory_rows(table, summary);
  if (!options.folder.empty()) table.add("written to", options.folder.string());
  table.print(out);
}

}  // namespace esp
