#include "runtime/train/session.hpp"

#include <sched.h>

#include <algorithm>
#include <functional>

#include "runtime/comm/metered_communicator.hpp"
#include "runtime/device/cuda_library.hpp"
#include "runtime/train/model_folder.hpp"
#include "runtime/train/precision.hpp"

namespace esp::runtime {
namespace {

int32_t usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return 1;
}

int32_t threads_of(const Job& job) {
  if (job.config.run.threads > 0) return job.config.run.threads;
  return std::max(1, usable_cores() / std::max(1, job.ranks.local_world));
}

// Local ranks share the GPUs there are: one each where they suffice.
std::unique_ptr<Device> make_device(const Job& job) {
  if (job.config.run.device != esp::Device::kCuda) return make_cpu_device(threads_of(job));
  CudaApi& cuda = load_cuda();
  return cuda.make_device(job.ranks.local_rank % cuda.device_count(), threads_of(job));
}

std::string comma_list(const char* const* names, uint32_t n) {
  std::string list;
  for (uint32_t i = 0; i < n; ++i) list += (i == 0 ? "" : ", ") + std::string(names[i]);
  return list;
}

uint32_t recompute_level(const esp_model_desc& model, const std::string& wanted) {
  for (uint32_t level = 0; level < model.n_recompute; ++level) {
    if (wanted == model.recompute[level]) return level;
  }
  throw Error(ExitCode::kUsage, "model.recompute = \"" + wanted + "\": " + model.name + " offers " +
                                    comma_list(model.recompute, model.n_recompute));
}

}  // namespace

Session::Session(const Job& the_job, Observer& the_observer) : job(the_job), observer(the_observer) {
  const RankFacts& ranks = job.ranks;
  device = make_device(job);
  stalls = std::make_unique<StallMeter>(*device);
  job.phases.enter("connecting the ranks", false);
  world = connect(ranks, job.config.run.timeout_s, *device, gpu_facts());
  world.data = std::make_unique<MeteredCommunicator>(std::move(world.data), *stalls);
  describe_run();
  create_dataset();
  create_model();
  create_strategy();
  agree_over_ranks();
  if (training()) create_update();
  prepare_dataset();
  job.phases.enter("preparing the run", false);
  prepare_model();
  driver = std::make_unique<StepDriver>(
      StepParts{*device, *world.data, *strategy, *strategy_services, *model, *view, update.get(), *losses, *stalls},
      captures_steps());
  strategy->call("prepare", &esp_strategy_v1::prepare, &view->view(), driver->binder());
  ShardState(*strategy, *view, *device, *world.control).initialize(*model, run_.seed);
  strategy->call("state_loaded", &esp_strategy_v1::state_loaded);
  device->sync(device->compute());
}

Session::Session(const Job& the_job, Observer& the_observer, std::unique_ptr<Device> the_device, World the_world)
    : job(the_job), observer(the_observer), device(std::move(the_device)), world(std::move(the_world)) {}

GpuFacts Session::gpu_facts() const {
  if (device->kind() != ESP_CUDA) return {};
  const auto make_nccl = [this](ControlGroup& control) {
    const RunConfig::Run& run = job.config.run;
    return load_cuda().make_nccl(*device, control, run.timeout_s, static_cast<int32_t>(run.collective_blocks));
  };
  return {gpu_identity(), make_nccl};
}

std::string Session::gpu_identity() const {
  return device->kind() == ESP_CUDA ? load_cuda().identity(device->index()) : "";
}

// A graph holds what strategy and model enqueue, so both must have said that nothing else matters; CPU streams cannot
// be part of one.
bool Session::captures_steps() const {
  const uint64_t both = job.strategy.component->caps & job.model.component->caps;
  return training() && job.config.train.graph && device->captures() && (both & ESP_CAP_CAPTURE_STEP) != 0;
}

void Session::describe_run() {
  const RankFacts& ranks = job.ranks;
  batch = plan_batch(job.config.train, ranks.world);
  run_.struct_size = sizeof(esp_run);
  run_.mode = training() ? ESP_MODE_TRAIN : ESP_MODE_INFER;
  run_.rank = ranks.rank;
  run_.world = ranks.world;
  run_.device_kind = device->kind();
  run_.device_index = device->index();
  run_.n_micro = training() ? static_cast<uint32_t>(batch.accumulation) : 0;
  run_.n_passes_max = 8;
  run_.precision = static_cast<uint32_t>(job.config.train.precision);
  run_.flags = job.config.train.deterministic ? ESP_RUN_DETERMINISTIC : 0;
  run_.seed = job.config.run.seed;
  run_.budget_device = job.config.run.device_budget;
  run_.budget_pinned = job.config.run.pinned_budget;
}

Session::~Session() {
  if (device) device->drain();
}

void Session::abandon(std::exception_ptr failure) noexcept {
  device->fail(std::move(failure));
  device->drain();
  strategy_services->abandon_step();
}

void Session::throw_if_stopped() const {
  if (job.stop != nullptr && *job.stop != 0) {
    throw Error(ExitCode::kInterrupted,
                "stopped on request (signal " + std::to_string(static_cast<int>(*job.stop)) + ")");
  }
}

Callee Session::callee(const Instance& instance, uint32_t kind) const {
  return {instance.library + ":" + instance.component->id, kind, job.phases, [this] { device->check(); }};
}

std::unique_ptr<HostServices> Session::make_services(const Instance& instance, uint32_t kind) {
  ServiceOptions options;
  options.kind = kind;
  options.component = instance.library + ":" + instance.component->id;
  options.phases = job.phases;
  if (kind == ESP_STRATEGY) {
    options.stalls = stalls.get();
    options.late = late_streams_of_environment();
    options.budget_device = job.config.run.device_budget;
    options.budget_pinned = job.config.run.pinned_budget;
  }
  options.log = [this](uint32_t level, const std::string& who, const std::string& text) {
    observer.log(level, who, text);
  };
  return std::make_unique<HostServices>(*device, kind == ESP_STRATEGY ? world.data.get() : nullptr, std::move(options));
}

void Session::create_dataset() {
  dataset_services = make_services(job.dataset, ESP_DATASET);
  dataset_config_ = {sizeof(esp_config),
                     static_cast<uint32_t>(job.dataset.values.size()),
                     job.dataset.values.data(),
                     &run_,
                     nullptr,
                     0,
                     0};
  dataset = std::make_unique<Dataset>(job.dataset, callee(job.dataset, ESP_DATASET), ESP_DATASET_ID,
                                      dataset_services->host(), &dataset_config_);
  dataset->call("describe", &esp_dataset_v1::describe, &data);
}

void Session::create_model() {
  model_services = make_services(job.model, ESP_MODEL);
  model_config_ = {sizeof(esp_config),
                   static_cast<uint32_t>(job.model.values.size()),
                   job.model.values.data(),
                   &run_,
                   data->classes,
                   data->n_classes,
                   0};
  model = std::make_unique<Model>(job.model, callee(job.model, ESP_MODEL), ESP_MODEL_ID, model_services->host(),
                                  &model_config_);
  model->call("describe", &esp_model_v1::describe, &model_desc);
  if (model_desc->n_classes < data->n_classes) {
    throw Error(ExitCode::kUsage, std::string(model_desc->name) + " has " + std::to_string(model_desc->n_classes) +
                                      " classes, the data has " + std::to_string(data->n_classes) + " (" +
                                      comma_list(data->classes, data->n_classes) + ")");
  }
}

void Session::create_strategy() {
  view = std::make_unique<ModelView>(*model_desc, job.config.model.freeze, run_.n_micro);
  strategy_services = make_services(job.strategy, ESP_STRATEGY);
  strategy_config_ = {sizeof(esp_config),
                      static_cast<uint32_t>(job.strategy.values.size()),
                      job.strategy.values.data(),
                      &run_,
                      nullptr,
                      0,
                      0};
  strategy = std::make_unique<Strategy>(job.strategy, callee(job.strategy, ESP_STRATEGY), ESP_STRATEGY_ID,
                                        strategy_services->host(), &strategy_config_);
  plan.struct_size = sizeof(esp_plan);
  plan.n_passes = 1;
  strategy->call("plan", &esp_strategy_v1::plan, &view->view(), &plan);
  if (plan.n_passes < 1 || plan.n_passes > run_.n_passes_max) {
    throw Error(ExitCode::kPlugin, strategy->name() + ": plan asks for " + std::to_string(plan.n_passes) +
                                       " passes; 1 to " + std::to_string(run_.n_passes_max) + " are run");
  }
  if ((plan.caps & ESP_CAP_ADAPTS & ~job.strategy.component->caps) != 0) {
    throw Error(ExitCode::kPlugin, strategy->name() + ": plan says that it adapts, the component does not declare it");
  }
  precision_ = run_.precision != ESP_PRECISION_DEFAULT ? run_.precision : precision_of(plan.compute_t);
  if (compute_type_of(precision_) != plan.compute_t) {
    throw Error(ExitCode::kPlugin, strategy->name() + ": plan binds parameters in another dtype than precision " +
                                       precision_name(precision_) + " computes in");
  }
  require_precision(*model_desc, precision_, strategy->name());
}

void Session::create_update() {
  const RunConfig::Optimizer& optimizer = job.config.optimizer;
  UpdateConfig config;
  config.optimizer = optimizer.name;
  config.beta1 = optimizer.betas[0];
  config.beta2 = optimizer.betas[1];
  config.eps = optimizer.eps;
  config.momentum = optimizer.momentum;
  config.weight_decay.resize(kGroups);
  config.weight_decay[kDecayGroup] = optimizer.weight_decay;
  for (const esp_param& param : view->params()) {
    config.params.push_back({param.numel, param.group, (param.flags & ESP_PARAM_TRAINABLE) != 0});
  }
  config.clip_norm = job.config.train.clip_norm;
  config.fp16 = precision_ == ESP_PRECISION_FP16;
  config.scaler = scaler_of(plan);
  config.data_size = world.data->size();
  config.stalls = stalls.get();
  update = std::make_unique<UpdateService>(*device, std::move(config));
  strategy_services->attach_update(update.get());
}

void Session::create_losses() {
  losses = std::make_unique<LossMeter>(*device, *world.data, stalls.get(), input_rows());
}

void Session::describe_model_run(const uint32_t* valid) {
  model_run_.struct_size = sizeof(esp_model_run);
  model_run_.mode = run_.mode;
  model_run_.micro_rows = input_rows();
  model_run_.eval_rows = input_rows();
  model_run_.n_micro = run_.n_micro;
  model_run_.recompute = recompute_level(*model_desc, job.config.model.recompute);
  model_run_.precision = precision_;
  model_run_.flags = run_.flags;
  model_run_.compute_t = plan.compute_t;
  model_run_.grad_t = plan.grad_t;
  model_run_.compute = device->compute().handle();
  model_run_.trainable = view->trainable();
  model_run_.loss_seed = update ? update->loss_seed() : nullptr;
  model_run_.valid = valid;
  model_run_.loss_sum = losses->loss_sum();
  model_run_.correct = losses->correct();
  model_run_.predicted = losses->predicted();
}

void Session::prepare_model() {
  create_losses();
  inputs = std::make_unique<InputPipeline>(*dataset, std::span(model_desc->inputs, model_desc->n_inputs),
                                           input_micros(), input_rows(), *device);
  describe_model_run(inputs->valid());
  need_.struct_size = sizeof need_;
  if (adapts()) model->call("plan", &esp_model_v1::plan, &model_run_, &need_);
  model->call("prepare", &esp_model_v1::prepare, &model_run_);
}

void Session::prepare_dataset() {
  job.phases.enter("decoding the data", false);
  std::vector<std::string> names;
  if (training()) {
    names.push_back("train");
    if (job.config.train.eval_every > 0 && has_split("validation")) names.push_back("validation");
  } else {
    names.push_back(job.config.data.split);
  }
  std::vector<uint32_t> splits;
  for (const std::string& name : names) {
    splits.push_back(split_index(name));
    if (split_count(name) == 0)
      throw Error(ExitCode::kData, std::string(data->name) + ": split " + name + " has no samples");
  }
  const std::vector<uint64_t> limits(splits.size(), job.config.data.limit);
  esp_dataset_run run{};
  run.struct_size = sizeof run;
  run.n_fields = model_desc->n_inputs;
  run.fields = model_desc->inputs;
  run.n_splits = static_cast<uint32_t>(splits.size());
  run.workers = static_cast<uint32_t>(job.config.data.workers > 0 ? job.config.data.workers : threads_of(job));
  run.splits = splits.data();
  run.limits = limits.data();
  dataset->call("prepare", &esp_dataset_v1::prepare, &run);
}

bool Session::has_split(const std::string& name) const {
  for (uint32_t i = 0; i < data->n_splits; ++i) {
    if (name == data->splits[i]->name) return true;
  }
  return false;
}

uint32_t Session::split_index(const std::string& name) const {
  std::string there;
  for (uint32_t i = 0; i < data->n_splits; ++i) {
    if (name == data->splits[i]->name) return i;
    there += (i == 0 ? "" : ", ") + std::string(data->splits[i]->name);
  }
  throw Error(ExitCode::kData, std::string(data->name) + " has no split \"" + name + "\"; there are: " + there);
}

uint64_t Session::split_count(const std::string& name) const {
  const uint64_t count = data->splits[split_index(name)]->count;
  return job.config.data.limit > 0 ? std::min(count, job.config.data.limit) : count;
}

// Ranks that differ would train on different things, or hang in collectives of different sizes.
void Session::agree_over_ranks() {
  std::string layout;
  for (const esp_param& param : view->params()) {
    layout += std::string(param.name) + ":" + std::to_string(param.numel) + ":" + std::to_string(param.flags) + ";";
  }
  const std::string facts[] = {
      "strategy " + strategy->name() + " " + job.strategy.component->version,
      "precision " + std::string(precision_name(precision_)),
      "model " + std::string(model_desc->name) + ", parameters " + std::to_string(std::hash<std::string>{}(layout)),
      "data " + std::to_string(data->fingerprint),
      "batch " + std::to_string(batch.micro_batch) + " x " + std::to_string(batch.accumulation),
      "seed " + std::to_string(run_.seed),
      "a plan of " + std::to_string(plan.warmup_steps) + " warm-up steps and capabilities " + std::to_string(plan.caps),
  };
  for (const std::string& fact : facts) {
    const std::vector<std::string> all = world.control->all_gather(fact);
    for (size_t rank = 1; rank < all.size(); ++rank) {
      if (all[rank] != all[0]) {
        throw Error(ExitCode::kUsage, "the ranks do not run the same job: rank 0 has " + all[0] + ", rank " +
                                          std::to_string(rank) + " has " + all[rank]);
      }
    }
  }
}

void Session::save_model() {
  device->sync(device->compute());
  ShardState shards(*strategy, *view, *device, *world.control);
  std::vector<std::vector<float>> values;
  for (const esp_param& param : view->params()) values.push_back(shards.gather(param.id));
  if (world.control->rank() == 0) write_model_folder(*model, values, job.model_folder, job.model_dtype);
  world.control->barrier();
}

StartReport Session::start_report() const {
  StartReport report;
  report.model_name = model_desc->name;
  report.data_name = data->name;
  report.device_name = device->name();
  report.precision = precision_name(precision_);
  report.plugin = strategy->name();
  report.world = job.ranks.world;
  report.batch = batch;
  report.n_params = view->elements();
  report.n_trainable = view->trainable_elements();
  for (uint32_t i = 0; i < data->n_classes; ++i) report.classes.emplace_back(data->classes[i]);
  if (device->kind() == ESP_CUDA && job.ranks.world > 1) report.notes.push_back("collectives: " + world.how);
  for (uint32_t i = 0; i < data->n_notes; ++i) report.notes.emplace_back(data->notes[i]);
  for (uint32_t i = 0; i < model_desc->n_notes; ++i) report.notes.emplace_back(model_desc->notes[i]);
  return report;
}

}  // namespace esp::runtime
