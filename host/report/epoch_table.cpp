#include "report/epoch_table.hpp"

#include <utility>

#include "report/number_text.hpp"

namespace esp {

EpochTable::EpochTable()
    : table_({{"epoch", 5}, {"train loss", 10}, {"eval loss", 9}, {"accuracy", 17}, {"seconds", 8}, {"samples/s", 9}}) {
}

std::string EpochTable::next(const runtime::EpochReport& report) {
  const auto& evaluation = report.evaluation;
  const std::string row = table_.row({
      std::to_string(report.epoch),
      fixed(report.train_loss, 4),
      evaluation ? fixed(evaluation->loss, 4) : "",
      evaluation ? share_text(evaluation->correct, evaluation->samples) : "",
      fixed(report.seconds, 1),
      fixed(report.samples_per_second, 1),
  });
  return std::exchange(empty_, false) ? table_.header() + row : row;
}

}  // namespace esp
