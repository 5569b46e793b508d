// Sums of losses: where the model adds them on the device, and their sum over ranks one step later.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/stall_meter.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

class LossMeter {
 public:
  LossMeter(Device& device, Communicator& data, StallMeter* stalls, uint32_t eval_rows);  // stalls: or NULL
  ~LossMeter();

  // Device addresses for esp_model_run, fixed for the run.
  double* loss_sum() { return sums_ + data_.rank(); }
  uint64_t* correct() { return correct_; }
  int32_t* predicted() { return predicted_; }

  // Training, all enqueued. begin zeroes the sums. sum, behind the step's last loss: over the ranks, on a stream of its
  // own, so that backward does not wait for the slowest; join before the step ends. end: on their way to the host.
  void begin();
  void sum();
  void join();
  void end(uint64_t step);
  // Loss sum of each rank in a step that was ended; blocks until the device got there. The latest two steps are kept.
  std::vector<double> read(uint64_t step);

  // Evaluation: this rank's sums and the predictions of the batch run last; blocks until the device got there.
  struct Local {
    double loss_sum = 0;
    uint64_t correct = 0;
  };
  Local read_local();
  const int32_t* read_predicted();

 private:
  static constexpr int kSlots = 2;
  Device& device_;
  Communicator& data_;
  StallMeter* stalls_;
  std::unique_ptr<Stream> summing_;  // NULL: one rank
  std::unique_ptr<Event> forked_, summed_;
  Arena arena_;
  uint32_t eval_rows_;
  double* sums_;        // [size] device; the own entry is added to, all_reduce fills the others
  uint64_t* correct_;   // device, right behind the sums, so that one operation zeroes both
  int32_t* predicted_;  // [eval_rows] device
  double* sums_host_[kSlots];
  double* local_sum_host_;
  uint64_t* correct_host_;
  int32_t* predicted_host_;
  std::unique_ptr<Event> copied_[kSlots];
};

}  // namespace esp::runtime
