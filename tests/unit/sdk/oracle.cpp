// The toy's training by a few loops: what every strategy must come to, bit for bit.
#include <cmath>
#include <set>

#include "toy_run.hpp"

namespace {

// One rank: weights as the optimizer has them and as the model sees them, gradients, momentum.
struct OracleRank {
  Values masters, weights, grads, momentum;
};

// DeepSpeed's rule, written down once more: the first overflows are forgiven, as many as hysteresis says but one; each
// later one halves the scale; `window` good steps in a row double it and forgive again.
class OracleScaler {
 public:
  OracleScaler(const esp_plan& plan, bool active) : plan_(plan), active_(active) {
    if (active_) scale_ = plan.scale_init;
  }
  float scale() const { return scale_; }
  void advance(bool overflow) {
    if (!active_) return;
    if (overflow) {
      good_ = 0;
      if (++overflows_ >= plan_.scale_hysteresis) scale_ = std::max(scale_ / 2, plan_.scale_min);
    } else if (++good_ == plan_.scale_window) {
      good_ = overflows_ = 0;
      scale_ *= 2;
    }
  }

 private:
  const esp_plan& plan_;
  const bool active_;
  float scale_ = 1;
  uint32_t good_ = 0, overflows_ = 0;
};

class Oracle {
 public:
  Oracle(const ToySettings& settings, const esp_plan& plan)
      : settings_(settings),
        toy_(settings.n_micro, settings.tied),
        dtype_(dtype_of(settings.precision)),
        ranks_(static_cast<size_t>(settings.world)),
        scaler_(plan, dtype_ == ESP_F16) {
    for (OracleRank& rank : ranks_) {
      rank.masters.resize(Toy::kParams);
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        for (uint64_t i = 0; i < toy_.numel(param); ++i) rank.masters[param].push_back(Toy::initial(param, i));
      }
      rank.weights = rank.masters;
      clear(rank.grads);
      clear(rank.momentum);
      load(rank);
      refresh(rank);
    }
  }

  OracleStep step(uint32_t index, uint32_t period, Addition addition) {
    index_ = index;
    if (addition == Addition::kRanksThenMicros) {
      reduce_each();
    } else {
      for (size_t r = 0; r < ranks_.size(); ++r) backward(r, 0, settings_.n_micro);
      if (period == 0) average(&OracleRank::grads, dtype_);
    }
    const OracleStep done = update(period != 0);
    if (period != 0 && (index + 1) % period == 0) average(&OracleRank::masters, ESP_F32);
    for (OracleRank& rank : ranks_) refresh(rank);
    return done;
  }

  const Values& weights() const { return ranks_[0].weights; }

 private:
  static esp_dtype dtype_of(uint32_t precision) {
    return precision == ESP_PRECISION_BF16 ? ESP_BF16 : precision == ESP_PRECISION_FP16 ? ESP_F16 : ESP_F32;
  }
  // What was saved before; nothing is saved of the momentum of frozen parameters.
  void load(OracleRank& rank) const {
    if (settings_.loaded.empty()) return;
    rank.weights = rank.masters = settings_.loaded.at("param");
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      if (toy_.trainable(param)) rank.momentum[param] = settings_.loaded.at("momentum")[param];
    }
  }
  void clear(Values& values) const {
    values.resize(Toy::kParams);
    for (uint32_t param = 0; param < Toy::kParams; ++param) values[param].assign(toy_.numel(param), 0.0f);
  }
  void refresh(OracleRank& rank) const {
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      for (size_t i = 0; i < rank.masters[param].size(); ++i) {
        rank.weights[param][i] = rounded(rank.masters[param][i], dtype_);
      }
    }
  }

  // Of micro-batches [first_micro, end_micro).
  void backward(size_t number, uint32_t first_micro, uint32_t end_micro) {
    OracleRank& rank = ranks_[number];
    const float seed = scaler_.scale() / static_cast<float>(settings_.n_micro);
    const bool overflows = settings_.overflows.count({index_, static_cast<int>(number)}) != 0;
    std::set<uint32_t> written;
    for (uint32_t pos = 0; pos < toy_.view().n_train; ++pos) {
      const esp_item& item = toy_.view().train[pos];
      if (item.phase == ESP_FWD || item.micro < first_micro || item.micro >= end_micro) continue;
      const esp_unit& unit = *toy_.view().units[item.unit];
      const uint64_t micro = item.micro * static_cast<uint64_t>(settings_.world) + number;
      for (uint32_t u = 0; u < unit.n_uses; ++u) {
        const uint32_t param = unit.uses[u];
        const bool first = written.insert(param).second;
        for (uint64_t i = 0; i < rank.grads[param].size(); ++i) {
          float value = rounded(Toy::contribution(param, i, item.unit, micro, rank.weights[param][i], seed), dtype_);
          if (overflows && param == Toy::kHead && i == 0) value = HUGE_VALF;
          rank.grads[param][i] = first ? value : rounded(rank.grads[param][i] + value, dtype_);
        }
      }
    }
  }

  // The mean over ranks of one of their arrays, rounded once.
  void average(Values OracleRank::*array, esp_dtype dtype) {
    for (uint32_t param = 0; param < Toy::kParams; ++param) {
      for (uint64_t i = 0; i < (ranks_[0].*array)[param].size(); ++i) {
        float sum = (ranks_[0].*array)[param][i];
        for (size_t r = 1; r < ranks_.size(); ++r) sum += (ranks_[r].*array)[param][i];
        const float mean = rounded(sum / static_cast<float>(ranks_.size()), dtype);
        for (OracleRank& rank : ranks_) (rank.*array)[param][i] = mean;
      }
    }
  }

  // Ranks are averaged micro-batch by micro-batch and added up, in fp32 where there are several.
  void reduce_each() {
    Values sum = ranks_[0].grads;
    for (uint32_t micro = 0; micro < settings_.n_micro; ++micro) {
      for (size_t r = 0; r < ranks_.size(); ++r) backward(r, micro, micro + 1);
      average(&OracleRank::grads, dtype_);
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        for (size_t i = 0; i < sum[param].size(); ++i) {
          const float value = ranks_[0].grads[param][i];
          sum[param][i] = micro == 0 ? value : sum[param][i] + value;
        }
      }
    }
    for (OracleRank& rank : ranks_) rank.grads = sum;
  }

  // own: the ranks' gradients differ, and the norm is that of all of them.
  OracleStep update(bool own) {
    double squares = 0;
    for (const OracleRank& rank : ranks_) {
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        if (!toy_.trainable(param)) continue;
        for (float value : rank.grads[param]) squares += static_cast<double>(value) * value;
      }
      if (!own) break;
    }
    const bool waits = (settings_.update.flags & ESP_UPDATE_BARRIER) != 0;
    const double norm = std::sqrt(squares) / scaler_.scale(), clip = settings_.update.clip_norm;
    const double clipped = waits && clip > 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1.0;
    const OracleStep done = {scaler_.scale(), waits && !std::isfinite(squares), norm};
    if (!done.skipped) descend(static_cast<float>(clipped / scaler_.scale()));
    scaler_.advance(done.skipped);
    return done;
  }

  void descend(float coef) {
    const float factor = settings_.update.momentum ? MockHost::kMomentum : 0.0f;
    for (OracleRank& rank : ranks_) {
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        for (size_t i = 0; toy_.trainable(param) && i < rank.masters[param].size(); ++i) {
          float& momentum = rank.momentum[param][i];
          momentum = rank.grads[param][i] * coef + factor * momentum;
          rank.masters[param][i] -= MockHost::kRate * momentum;
        }
      }
    }
  }

  const ToySettings& settings_;
  uint32_t index_ = 0;  // of the step
  const Toy toy_;
  const esp_dtype dtype_;
  std::vector<OracleRank> ranks_;
  OracleScaler scaler_;
};

}  // namespace

Values oracle(const ToySettings& settings, uint32_t period, Addition addition, const esp_plan& plan,
              std::vector<OracleStep>* steps) {
  Oracle run(settings, plan);
  for (uint32_t step = 0; step < settings.steps; ++step) {
    const OracleStep done = run.step(step, period, addition);
    if (steps != nullptr) steps->push_back(done);
  }
  return run.weights();
}
