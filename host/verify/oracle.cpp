#include "verify/oracle.hpp"

#include <cmath>

namespace esp::verify {

uint64_t samples_of(int rank, uint32_t micro) {
  return rank == 0 && micro == 0 ? 2 : (static_cast<uint64_t>(rank) + micro) % 3;
}

Oracle::Oracle(const Toy& toy, const OptimizerSettings& optimizer, int world, uint32_t n_micro, bool same_samples)
    : toy_(toy), optimizer_(optimizer), world_(world), n_micro_(n_micro), same_(same_samples) {
  weights.resize(Toy::kParams);
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    for (uint64_t i = 0; i < toy.numel(param); ++i) weights[param].push_back(Toy::initial(param, i));
    for (auto& slot : slots_) slot.emplace_back(toy.numel(param));
  }
  for (int rank = 0; rank < world; ++rank) {
    for (uint32_t micro = 0; micro < n_micro; ++micro) {
      samples_ += static_cast<double>(samples_of(same_ ? 0 : rank, micro));
    }
  }
}

double Oracle::part(int rank, uint32_t micro, uint32_t param, uint64_t element, uint32_t unit, double weight) const {
  const int seen = same_ ? 0 : rank;
  double sum = 0;
  for (uint64_t i = 0; i < samples_of(seen, micro); ++i) {
    const uint64_t sample = (static_cast<uint64_t>(micro) * 16 + static_cast<uint64_t>(seen)) * 4 + i;
    sum += Toy::gradient(param, element, unit, sample, weight);
  }
  return sum;
}

double Oracle::gradient(uint32_t param, uint64_t element, int only_rank) const {
  double sum = 0;
  for (uint32_t unit = 0; unit < toy_.view().n_units; ++unit) {
    for (uint32_t used : toy_.uses(unit)) {
      if (used != param) continue;
      for (int rank = 0; rank < world_; ++rank) {
        if (only_rank >= 0 && rank != only_rank) continue;
        for (uint32_t micro = 0; micro < n_micro_; ++micro) {
          sum += part(rank, micro, param, element, unit, weights[param][element]);
        }
      }
    }
  }
  return only_rank >= 0 ? sum * world_ / samples_ : sum / samples_;
}

void Oracle::continue_from(const Oracle& other) {
  weights = other.weights;
  slots_[0] = other.slots_[0];
  slots_[1] = other.slots_[1];
}

void Oracle::step(bool skip) {
  double squares = 0;
  Values gradients(Toy::kParams);
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    for (uint64_t i = 0; toy_.trainable(param) && i < toy_.numel(param); ++i) {
      gradients[param].push_back(gradient(param, i));
      squares += std::pow(gradients[param].back(), 2);
    }
  }
  norm_ = std::sqrt(squares);
  if (skip) return;
  applied_ += 1;
  const double coef = optimizer_.clip > 0 && norm_ > optimizer_.clip ? optimizer_.clip / norm_ : 1;
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    const uint32_t group = toy_.view().params[param]->group;
    for (uint64_t i = 0; i < gradients[param].size(); ++i) {
      update_element(optimizer_, group, applied_, gradients[param][i] * coef, weights[param][i], slots_[0][param][i],
                     slots_[1][param][i]);
    }
  }
}

}  // namespace esp::verify
