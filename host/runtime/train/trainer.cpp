// The training loop. Step k is enqueued, the samples of step k + 1 are fetched while it runs, and the results of step k
// - 1 are read: the host is never more than one step ahead, and never waits for the step it has just enqueued.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "runtime/plan/dry_run.hpp"
#include "runtime/train/energy_account.hpp"
#include "runtime/train/learning_rate.hpp"
#include "runtime/train/sample_order.hpp"
#include "runtime/train/session.hpp"

namespace esp::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// Epochs or steps, whichever is given; both: the smaller; none: three epochs.
int64_t steps_of_run(const RunConfig::Train& train, int64_t steps_per_epoch) {
  constexpr int64_t kUsualEpochs = 3;
  if (train.epochs == 0) return train.max_steps > 0 ? train.max_steps : kUsualEpochs * steps_per_epoch;
  const int64_t steps = train.epochs * steps_per_epoch;
  return train.max_steps > 0 ? std::min(steps, train.max_steps) : steps;
}

class Trainer {
 public:
  explicit Trainer(Session& session);
  void run();

 private:
  // A step that was enqueued and not yet read.
  struct Pending {
    int64_t step = 0;
    uint64_t samples = 0;
    double lr = 0;
    double data_wait_s = 0;
    bool after_pause = false;  // evaluation came before it
    std::unique_ptr<TimeMark> begin, end;
  };
  struct EpochSums {
    double loss = 0;
    uint64_t samples = 0;
    Clock::time_point begin;
    double paused_s = 0;
  };

  bool reports() const { return session_.job.ranks.rank == 0; }
  // The strategy learns what memory there is, once: behind its warm-up, if steps follow.
  bool adapts_behind(int64_t step) const {
    return session_.adapts() && step + 1 == std::max<int64_t>(1, session_.plan.warmup_steps) && step + 1 < total_steps_;
  }
  bool evaluates() const { return eval_interval_ > 0 && session_.has_split("validation"); }
  StepRequest samples_of(int64_t step);
  uint64_t samples_in(int64_t step) const {
    return cut_.samples_in_step(static_cast<uint64_t>(step % steps_per_epoch_));
  }
  void issue(int64_t step);
  void enqueue(int64_t step, double lr);
  void finish(Pending pending);
  void stop_on_nonfinite(const Pending& pending, const std::vector<double>& rank_sums, double grad_norm) const;
  void pause_at(int64_t steps_done);
  void end_epoch(int64_t steps_done, std::optional<Evaluation> evaluation);
  CommCounters collectives() const;
  void count_energy(const Pending& read);
  std::optional<double> exposed_communication();
  double exposed_in_two_steps(int64_t first);
  void finish_run();

  Session& session_;
  const RunConfig& config_;
  BatchCut cut_;
  int64_t steps_per_epoch_ = 0, total_steps_ = 0, warmup_ = 0, eval_interval_ = 0;
  std::vector<uint64_t> order_;
  uint64_t order_epoch_ = ~uint64_t{0};
  std::optional<Pending> pending_;
  std::unique_ptr<TimeMark> previous_end_;
  bool paused_ = true;
  EpochSums epoch_;
  std::optional<Evaluation> last_evaluation_;
  double loss_total_ = 0, train_seconds_ = 0;
  uint64_t samples_total_ = 0;
  int64_t skipped_ = 0;
  CommCounters comm_;  // of training steps alone
  EnergyAccount energy_account_;
  EnergyReport energy_;  // joules: not yet
};

Trainer::Trainer(Session& session)
    : session_(session), config_(session.job.config), energy_account_(session.gpu_identity()) {
  cut_.samples = session.split_count("train");
  cut_.global_batch = static_cast<uint64_t>(session.batch.global_batch);
  cut_.micro_batch = static_cast<uint64_t>(session.batch.micro_batch);
  cut_.world = static_cast<uint64_t>(session.job.ranks.world);
  cut_.drop_last = config_.data.drop_last;
  steps_per_epoch_ = static_cast<int64_t>(cut_.steps_per_epoch());
  if (steps_per_epoch_ == 0) {
    throw Error(ExitCode::kUsage, "data.drop_last leaves no step: " + std::to_string(cut_.samples) +
                                      " training samples are fewer than one global batch of " +
                                      std::to_string(cut_.global_batch));
  }
  total_steps_ = steps_of_run(config_.train, steps_per_epoch_);
  warmup_ = warmup_steps(config_.optimizer, total_steps_);
  if (config_.train.eval_every > 0) {
    eval_interval_ =
        std::max<int64_t>(1, std::llround(config_.train.eval_every * static_cast<double>(steps_per_epoch_)));
  }
}

StepRequest Trainer::samples_of(int64_t step) {
  const auto epoch = static_cast<uint64_t>(step / steps_per_epoch_);
  if (epoch != order_epoch_) {
    order_ = epoch_order(cut_.samples, config_.run.seed, epoch, config_.data.shuffle);
    order_epoch_ = epoch;
  }
  StepRequest request;
  request.split = session_.split_index("train");
  request.epoch = epoch;
  for (int64_t micro = 0; micro < session_.batch.accumulation; ++micro) {
    const Slice slice = micro_slice(cut_, static_cast<uint64_t>(step % steps_per_epoch_), static_cast<uint64_t>(micro),
                                    static_cast<uint64_t>(session_.job.ranks.rank));
    request.micros.push_back({{order_.begin() + static_cast<int64_t>(slice.first),
                               order_.begin() + static_cast<int64_t>(slice.first + slice.count)}});
  }
  return request;
}

void Trainer::issue(int64_t step) {
  Pending pending;
  pending.step = step;
  pending.samples = samples_in(step);
  pending.lr = config_.optimizer.lr * rate_factor(config_.optimizer.schedule, step, warmup_, total_steps_);
  pending.after_pause = paused_;
  paused_ = false;
  pending.data_wait_s = session_.inputs->take();
  Stream& compute = session_.device->compute();
  const CommCounters comm_before = collectives();
  pending.begin = session_.device->mark(compute);
  enqueue(step, pending.lr);
  pending.end = session_.device->mark(compute);
  comm_ += collectives() - comm_before;
  pending_ = std::move(pending);
}

void Trainer::enqueue(int64_t step, double lr) {
  const auto index = static_cast<uint64_t>(step);
  session_.losses->begin();
  session_.update->begin_step(index, std::vector<double>(kGroups, lr), samples_in(step));
  session_.driver->train(index, session_.plan.n_passes, index < session_.plan.warmup_steps, *session_.inputs);
  session_.update->end_step();
  session_.losses->end(index);
}

// So far; calls are counted as they are enqueued, by this thread, those of graphs at every launch.
CommCounters Trainer::collectives() const {
  CommCounters counters = session_.world.data->counters();
  return counters += session_.driver->replayed();
}

void Trainer::stop_on_nonfinite(const Pending& pending, const std::vector<double>& rank_sums, double grad_norm) const {
  if (config_.train.on_nonfinite == OnNonfinite::kIgnore) return;
  for (size_t rank = 0; rank < rank_sums.size(); ++rank) {
    if (!std::isfinite(rank_sums[rank])) {
      throw Error(ExitCode::kNumeric,
                  "loss is not finite in step " + std::to_string(pending.step + 1) + " on rank " +
                      std::to_string(rank) +
                      " (train.on_nonfinite = \"stop\"); lower optimizer.lr or set train.clip_norm");
    }
  }
  if (!std::isfinite(grad_norm)) {
    throw Error(
        ExitCode::kNumeric,
        "gradients are not finite in step " + std::to_string(pending.step + 1) +
            ", the losses of all ranks are (train.on_nonfinite = \"stop\"); lower optimizer.lr or set train.clip_norm");
  }
}

void Trainer::finish(Pending pending) {
  const std::vector<double> rank_sums = session_.losses->read(static_cast<uint64_t>(pending.step));
  const UpdateResult result = session_.update->result(static_cast<uint64_t>(pending.step));
  const double end = pending.end->seconds();
  const double begin = pending.after_pause ? pending.begin->seconds() : previous_end_->seconds();
  previous_end_ = std::move(pending.end);
  // An overflow in fp16 is expected now and then: the scaler skips the step.
  if (!result.skipped || session_.plan.compute_t != ESP_F16) stop_on_nonfinite(pending, rank_sums, result.grad_norm);

  double loss = 0;
  for (const double sum : rank_sums) loss += sum;
  epoch_.loss += loss;
  epoch_.samples += pending.samples;
  loss_total_ += loss;
  samples_total_ += pending.samples;
  skipped_ += result.skipped ? 1 : 0;
  count_energy(pending);
  if (!reports()) return;
  StepReport report;
  report.step = pending.step + 1;
  report.epoch = static_cast<double>(report.step) / static_cast<double>(steps_per_epoch_);
  report.loss = loss / static_cast<double>(pending.samples);
  report.lr = pending.lr;
  report.grad_norm = result.grad_norm;
  report.loss_scale = result.loss_scale;
  report.skipped = result.skipped;
  report.samples = pending.samples;
  report.step_ms = (end - begin) * 1e3;
  report.data_wait_ms = pending.data_wait_s * 1e3;
  session_.observer.stepped(report);
}

// Where training stands still: evaluation and the end of an epoch. All steps so far were read.
void Trainer::pause_at(int64_t steps_done) {
  const bool last = steps_done == total_steps_;
  std::optional<Evaluation> evaluation;
  const bool counted_energy = energy_account_.pause();
  const auto begin = Clock::now();
  if (evaluates() && (steps_done % eval_interval_ == 0 || last)) {
    evaluation = evaluate(session_, "validation");
    last_evaluation_ = evaluation;
  }
  epoch_.paused_s += std::chrono::duration<double>(Clock::now() - begin).count();
  if (steps_done % steps_per_epoch_ == 0 || last) {
    end_epoch(steps_done, std::move(evaluation));
  } else if (evaluation && reports()) {
    session_.observer.evaluated(steps_done, *evaluation);
  }
  paused_ = true;
  if (counted_energy) energy_account_.resume();
}

void Trainer::end_epoch(int64_t steps_done, std::optional<Evaluation> evaluation) {
  EpochReport report;
  report.epoch = (steps_done + steps_per_epoch_ - 1) / steps_per_epoch_;
  report.train_loss = epoch_.loss / static_cast<double>(epoch_.samples);
  report.seconds = std::chrono::duration<double>(Clock::now() - epoch_.begin).count() - epoch_.paused_s;
  report.samples_per_second = static_cast<double>(epoch_.samples) / report.seconds;
  report.step = steps_done;
  report.evaluation = std::move(evaluation);
  train_seconds_ += report.seconds;
  if (reports()) session_.observer.epoch_ended(report);
  epoch_ = {};
  epoch_.begin = Clock::now();
}

void Trainer::finish_run() {
  session_.job.phases.enter("finishing the run", false);
  if (!session_.job.model_folder.empty()) session_.save_model();
  FinishReport report;
  report.steps = total_steps_;
  report.train_loss = loss_total_ / static_cast<double>(samples_total_);
  report.train_seconds = train_seconds_;
  report.trained_samples = samples_total_;
  report.skipped_steps = skipped_;
  report.evaluation = last_evaluation_;
  report.memory = session_.memory_report();
  report.memory.predicted_by_tag = predict_memory(session_);
  for (uint32_t unit = 0; unit < session_.model_desc->n_units; ++unit) {
    report.model_flops_per_sample += 3 * session_.model_desc->unit_flops[unit];  // backward is twice the forward
  }
  if (session_.job.ranks.world > 1) {
    report.all_reduce = {comm_.all_reduce.calls, comm_.all_reduce.bytes};
    report.reduce_scatter = {comm_.reduce_scatter.calls, comm_.reduce_scatter.bytes};
    report.all_gather = {comm_.all_gather.calls, comm_.all_gather.bytes};
  }
  report.model_folder = session_.job.model_folder;
  if (const auto joules = energy_account_.joules(*session_.world.control)) {
    report.energy = energy_;
    report.energy->joules = *joules;
  }
  report.exposed_communication_ms = exposed_communication();
  if (reports()) session_.observer.finished(report);
}

// The first steps are slow for reasons of their own: the host cannot know how many a benchmark leaves out, so it leaves
// out a third.
void Trainer::count_energy(const Pending& read) {
  const int64_t left_out = (total_steps_ + 2) / 3;
  if (read.step + 1 == left_out) energy_account_.resume();
  if (read.step < left_out) return;
  ++energy_.steps;
  energy_.samples += read.samples;
}

// In ms: the median of profiled steps of the mean over ranks. They come last, at learning rate 0.
std::optional<double> Trainer::exposed_communication() {
  constexpr int kUnmeasured = 2;  // twice two steps: run once eagerly and captured, then launched
  if (session_.world.control->size() == 1) return 0.0;
  if (config_.train.profile_steps == 0) return std::nullopt;
  session_.device->sync(session_.device->compute());
  session_.driver->forget_graphs();
  session_.stalls->turn(true);
  session_.inputs->request(samples_of(total_steps_));
  std::vector<double> ms;
  for (int64_t pair = 0; pair < kUnmeasured + config_.train.profile_steps; ++pair) {
    const double measured = exposed_in_two_steps(total_steps_ + 2 * pair) * 1e3;
    if (pair >= kUnmeasured) ms.push_back(measured);
  }
  session_.stalls->turn(false);
  session_.world.control->all_reduce(ms, ControlOp::kSum);
  const auto middle = ms.begin() + static_cast<int64_t>(ms.size() / 2);
  std::nth_element(ms.begin(), middle, ms.end());
  return *middle / session_.world.control->size();
}

// Of the second: it begins as steps within a run do, while the device is busy with the one before. Marks in a graph are
// those of its last launch, so nothing follows until they are read.
double Trainer::exposed_in_two_steps(int64_t first) {
  for (const int64_t step : {first, first + 1}) {
    session_.inputs->take();
    session_.stalls->take();
    enqueue(step, 0);
    session_.inputs->request(samples_of(step + 1));
  }
  session_.device->sync(session_.device->compute());
  return exposed_seconds(session_.stalls->take());
}

void Trainer::run() {
  session_.job.phases.enter("training", false);
  if (reports()) {
    StartReport start = session_.start_report();
    start.epochs = (total_steps_ + steps_per_epoch_ - 1) / steps_per_epoch_;
    start.steps_per_epoch = steps_per_epoch_;
    start.total_steps = total_steps_;
    start.train_samples = cut_.samples;
    session_.observer.started(start);
  }
  epoch_.begin = Clock::now();
  session_.inputs->request(samples_of(0));
  for (int64_t step = 0; step < total_steps_; ++step) {
    session_.throw_if_stopped();
    std::optional<Pending> before = std::move(pending_);
    issue(step);
    const int64_t done = step + 1;
    const bool pauses = adapts_behind(step) || done == total_steps_ || done % steps_per_epoch_ == 0 ||
                        (evaluates() && done % eval_interval_ == 0);
    if (!pauses) session_.inputs->request(samples_of(done));
    if (before) finish(std::move(*before));
    if (!pauses) continue;
    finish(std::move(*pending_));
    pending_.reset();
    if (adapts_behind(step)) session_.adapt();
    pause_at(done);
    if (done < total_steps_) session_.inputs->request(samples_of(done));
  }
  finish_run();
}

}  // namespace

void train(Session& session) { Trainer(session).run(); }

}  // namespace esp::runtime
