// Update kernels of the CPU device: norm, clipping, scaler, AdamW and SGD.
#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/device/cpu/blocks.hpp"
#include "runtime/device/cpu/cpu_kernels.hpp"
#include "runtime/device/cpu/cpu_stream.hpp"
#include "runtime/device/cpu/parallel.hpp"
#include "runtime/device/cpu/sum_squares.hpp"
#include "runtime/device/device.hpp"
#include "runtime/device/update_step.hpp"

namespace esp::runtime {
namespace {

constexpr uint64_t kGrainElements = 16 * kBlock;

// One optimizer, its scalars for this step and group, on blocks of T.
template <class T>
class Rule {
 public:
  Rule(const UpdateBlock& block, const UpdateRules& rules, uint32_t group) : adamw_(rules.adamw) {
    const double coef = rules.barrier ? block.exact_coef : 1.0;  // without barrier nothing clips or scales
    if (adamw_) {
      adam_ = {static_cast<T>(coef),        static_cast<T>(block.keep[group]),      static_cast<T>(1 - rules.beta1),
               static_cast<T>(rules.beta2), static_cast<T>(1 - rules.beta2),        static_cast<T>(block.sqrt_bias2),
               static_cast<T>(rules.eps),   static_cast<T>(-block.step_size[group])};
    } else {
      sgd_ = {static_cast<T>(coef), static_cast<T>(block.exact_decay[group]), static_cast<T>(rules.momentum),
              static_cast<T>(-block.exact_lr[group])};
    }
  }

  void run(const UpdateRange& range, uint64_t lo, uint64_t hi) const {
    T buffer[kBlock];
    for_blocks(lo, hi, [&](uint64_t first, uint64_t count) {
      const T* grad = read_block(at(range.grad, range.grad_t, first), range.grad_t, count, buffer);
      T* master = static_cast<T*>(range.master) + first;
      T* slot0 = range.slots[0] == nullptr ? nullptr : static_cast<T*>(range.slots[0]) + first;
      if (adamw_) {
        loops::adamw(count, adam_, grad, master, slot0, static_cast<T*>(range.slots[1]) + first);
      } else {
        loops::sgd(count, sgd_, grad, master, slot0);
      }
      if (range.out != nullptr) store_block(master, count, at(range.out, range.out_t, first), range.out_t);
    });
  }

 private:
  bool adamw_;
  loops::AdamW<T> adam_{};
  loops::Sgd<T> sgd_{};
};

template <class T>
void apply_range(int32_t threads, const UpdateBlock& block, const UpdateRules& rules, const UpdateRange& range) {
  const Rule<T> rule(block, rules, range.group);
  parallel_for(threads, range.n, kGrainElements, [&](uint64_t lo, uint64_t hi) { rule.run(range, lo, hi); });
}

}  // namespace

void CpuKernels::begin_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules,
                              const UpdateInputs& inputs) {
  device_.enqueue(stream, [=] {
    begin_numbers(*block, rules, inputs);
    std::fill(std::begin(block->partial), std::end(block->partial), 0.0);
  });
}

void CpuKernels::add_sum_sq(Stream& stream, std::span<const NormPiece> pieces, double* add_to) {
  device_.enqueue(
      stream, [add_to, threads = threads_of(stream), pieces = std::vector<NormPiece>(pieces.begin(), pieces.end())] {
        for (const NormPiece& piece : pieces) *add_to += sum_squares(threads, piece.grad, piece.n, piece.dtype);
      });
}

void CpuKernels::sum_partials(Stream& stream, UpdateBlock* block) {
  device_.enqueue(stream, [=] {
    block->sum = 0;
    for (double& partial : block->partial) {
      block->sum += partial;
      partial = 0;
    }
  });
}

void CpuKernels::finish_norm(Stream& stream, UpdateBlock* block, const UpdateRules& rules, bool sums) {
  if (sums) sum_partials(stream, block);
  device_.enqueue(stream, [=] { finish_numbers(*block, rules); });
}

void CpuKernels::apply(Stream& stream, const UpdateBlock* block, const UpdateRules& rules,
                       std::span<const UpdateRange> ranges, double* add_to) {
  if (add_to != nullptr) {
    std::vector<NormPiece> pieces;
    for (const UpdateRange& range : ranges) pieces.push_back({range.grad, range.n, range.grad_t});
    add_sum_sq(stream, pieces, add_to);
  }
  device_.enqueue(stream,
                  [=, threads = threads_of(stream), ranges = std::vector<UpdateRange>(ranges.begin(), ranges.end())] {
                    if (rules.barrier && block->found_inf != 0) return;
                    for (const UpdateRange& range : ranges) {
                      range.master_t == ESP_F64 ? apply_range<double>(threads, *block, rules, range)
                                                : apply_range<float>(threads, *block, rules, range);
                    }
                  });
}

void CpuKernels::end_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules, UpdateResult* pinned) {
  device_.enqueue(stream, [=] { end_numbers(*block, rules, *pinned); });
}

}  // namespace esp::runtime
