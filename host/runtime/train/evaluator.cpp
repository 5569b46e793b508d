#include <algorithm>

#include "runtime/train/session.hpp"

namespace esp::runtime {
namespace {

// Batch `number` of a split in order: contiguous, the last one short, those beyond it empty.
StepRequest batch_request(uint32_t split, uint64_t number, uint64_t rows, uint64_t samples) {
  StepRequest request;
  request.split = split;
  request.evaluation = true;
  request.micros.emplace_back();
  const uint64_t first = std::min(number * rows, samples);
  const uint64_t last = std::min(first + rows, samples);
  for (uint64_t i = first; i < last; ++i) request.micros.front().indices.push_back(i);
  return request;
}

struct ClassCounts {
  std::vector<uint64_t> correct, samples;
};

void count(ClassCounts& counts, const std::vector<int64_t>& labels, const int32_t* predicted) {
  for (size_t row = 0; row < labels.size(); ++row) {
    const auto label = static_cast<size_t>(labels[row]);
    counts.samples.at(label) += 1;
    counts.correct.at(label) += predicted[row] == labels[row] ? 1 : 0;
  }
}

// Sums over ranks; counts are exact in double up to 2^53.
Evaluation sum_over_ranks(Session& session, const LossMeter::Local& local, const ClassCounts& counts) {
  std::vector<double> values{local.loss_sum, static_cast<double>(local.correct)};
  values.insert(values.end(), counts.correct.begin(), counts.correct.end());
  values.insert(values.end(), counts.samples.begin(), counts.samples.end());
  session.world.control->all_reduce(values, ControlOp::kSum);
  const size_t classes = counts.correct.size();
  Evaluation result;
  result.correct = static_cast<uint64_t>(values[1]);
  for (size_t c = 0; c < classes; ++c) {
    result.class_correct.push_back(static_cast<uint64_t>(values[2 + c]));
    result.class_samples.push_back(static_cast<uint64_t>(values[2 + classes + c]));
    result.samples += result.class_samples.back();
  }
  result.loss = values[0] / static_cast<double>(std::max<uint64_t>(result.samples, 1));
  return result;
}

}  // namespace

Evaluation evaluate(Session& session, const std::string& split) {
  const PhaseBoard::Before before = session.job.phases.enter("evaluating", false);
  const uint32_t index = session.split_index(split);
  const uint64_t samples = session.split_count(split);
  const auto rows = static_cast<uint64_t>(session.batch.micro_batch);
  const auto world = static_cast<uint64_t>(session.job.ranks.world);
  const auto rank = static_cast<uint64_t>(session.job.ranks.rank);
  // Every rank runs as many batches as any other, the last ones perhaps empty: strategies may communicate in
  // evaluation.
  const uint64_t rounds = ((samples + rows - 1) / rows + world - 1) / world;

  ClassCounts counts{std::vector<uint64_t>(session.data->n_classes), std::vector<uint64_t>(session.data->n_classes)};
  session.losses->begin();
  session.inputs->request(batch_request(index, rank, rows, samples));
  for (uint64_t round = 0; round < rounds; ++round) {
    session.throw_if_stopped();
    session.inputs->take();
    const std::vector<int64_t> labels = session.inputs->labels().front();
    if (round + 1 < rounds) session.inputs->request(batch_request(index, (round + 1) * world + rank, rows, samples));
    session.driver->evaluate(*session.inputs);
    count(counts, labels, session.losses->read_predicted());
    if (rank == 0) session.observer.evaluating(split, std::min(samples, (round + 1) * rows * world), samples);
  }
  Evaluation result = sum_over_ranks(session, session.losses->read_local(), counts);
  result.split = split;
  before.resume();
  return result;
}

void evaluate_only(Session& session) {
  const bool reports = session.job.ranks.rank == 0;
  if (reports) session.observer.started(session.start_report());
  FinishReport report;
  report.evaluation = evaluate(session, session.job.config.data.split);
  report.memory = session.memory_report();
  if (reports) session.observer.finished(report);
}

}  // namespace esp::runtime
