// The joules that training steps take, as the GPUs count them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "runtime/comm/control_group.hpp"
#include "runtime/device/gpu_energy.hpp"

namespace esp::runtime {

class EnergyAccount {
 public:
  // identity: of this rank's GPU (CudaApi::identity), empty on a CPU, where nothing is measured.
  explicit EnergyAccount(std::string identity);

  // Counts from resume to pause, as often as they are called. The device has done the work of before, at most a step
  // of what comes after.
  void resume();
  bool pause();  // whether it was counting

  // What was counted on the GPUs of all ranks, each once where ranks share it; all ranks call it. Nothing when a GPU
  // does not tell, or after less than half a second, which is but a few ticks of the counter.
  std::optional<double> joules(ControlGroup& control) const;

 private:
  using Clock = std::chrono::steady_clock;

  std::string identity_;
  GpuEnergy gpu_;
  bool running_ = false;
  std::optional<double> since_;  // joules
  Clock::time_point begin_;
  double joules_ = 0, seconds_ = 0;
};

// "IDENTITY JOULES" of each rank, or "" of one that could not tell: the sum over GPUs.
std::optional<double> sum_over_gpus(const std::vector<std::string>& told);

}  // namespace esp::runtime
