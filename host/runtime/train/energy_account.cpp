#include "runtime/train/energy_account.hpp"

#include <cstdio>
#include <cstdlib>
#include <set>
#include <utility>

namespace esp::runtime {
namespace {

constexpr double kShortest = 0.5;  // seconds

}  // namespace

EnergyAccount::EnergyAccount(std::string identity) : identity_(std::move(identity)), gpu_(identity_) {}

void EnergyAccount::resume() {
  running_ = true;
  since_ = gpu_.joules();
  begin_ = Clock::now();
}

bool EnergyAccount::pause() {
  if (!std::exchange(running_, false)) return false;
  const std::optional<double> now = gpu_.joules();
  if (!now || !since_) return true;
  joules_ += *now - *since_;
  seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count();
  return true;
}

std::optional<double> EnergyAccount::joules(ControlGroup& control) const {
  std::string mine;
  if (seconds_ >= kShortest) {
    char number[32];
    std::snprintf(number, sizeof number, "%.17g", joules_);
    mine = identity_ + " " + number;
  }
  return sum_over_gpus(control.all_gather(mine));
}

std::optional<double> sum_over_gpus(const std::vector<std::string>& told) {
  std::set<std::string> counted;
  double sum = 0;
  for (const std::string& one : told) {
    const size_t space = one.find(' ');
    if (space == std::string::npos) return std::nullopt;
    if (counted.insert(one.substr(0, space)).second) sum += std::strtod(one.c_str() + space, nullptr);
  }
  return sum;
}

}  // namespace esp::runtime
