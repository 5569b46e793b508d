#include "gradients.hpp"

#include <espalier/kit/shard_set.hpp>

#include "placement.hpp"

namespace gemini {

using esp::kit::element;
using esp::kit::Window;

Gradients::Gradients(const Chunks& chunks, const esp::Binder& binder, bool ahead, esp_stream reduction,
                     esp_stream updating)
    : chunks_(chunks),
      binder_(binder),
      ahead_(ahead),
      reduction_(reduction),
      updating_(updating),
      grad_t_(chunks.compute_t),
      sum_t_(chunks.sum_dtype()),
      fence_(chunks.host.device),
      slot_of_(chunks.n_trained),
      has_landed_(chunks.n_trained),
      states_("gradients", {"not there", "open", "summed", "final", "applied"},
              {{Gradient::kNone, Gradient::kOpen},
               {Gradient::kOpen, Gradient::kSummed},
               {Gradient::kSummed, Gradient::kOpen},
               {Gradient::kSummed, Gradient::kFinal},
               {Gradient::kNone, Gradient::kFinal},
               {Gradient::kFinal, Gradient::kApplied}},
              chunks.n_trained) {
  for (uint32_t chunk = 0; chunk < chunks.n_trained; ++chunk) added_.push_back(chunks.host.device.new_event());
  take();
}

void Gradients::release() {
  sums_.clear();
  landing_.clear();
  slots_.reset();
}

void Gradients::take() {
  const esp::Memory& memory = chunks_.host.memory;
  const bool lands = chunks_.several_windows() || sum_t_ != grad_t_;
  chunks_.for_trained([&](const Block& chunk) {
    const uint64_t part = chunks_.part(chunk), bytes = part * ESP_DTYPE_BYTES(sum_t_);
    const bool on_device = update_place(chunks_.tier(chunk)) == ESP_DEVICE;
    if (!on_device && cpu_ == nullptr) cpu_ = chunks_.host.device.new_stream(ESP_STREAM_CPU);
    sums_.push_back(on_device ? memory.device(bytes, ESP_TAG_GRAD, ESP_MEM_COMM) : memory.pinned(bytes, ESP_TAG_GRAD));
    landing_.push_back(on_device || !lands ? esp::Buffer()
                                           : memory.pinned(part * ESP_DTYPE_BYTES(grad_t_), ESP_TAG_BUCKET));
    if (chunks_.windows.count(chunk.index) > 0 && chunks_.summed_in_place(chunk.index)) {
      bind(chunk, sum(chunk), ESP_WRITE_EACH_PASS);
    }
  });
  const GradientSlots slots = gradient_slots(chunks_, ahead_);
  slots_.emplace(chunks_.host, slots.count, slots.elements * ESP_DTYPE_BYTES(grad_t_), ESP_TAG_BUCKET);
}

void Gradients::begin_step() {
  slots_->begin_step();
  states_.reset();
  has_landed_.assign(has_landed_.size(), false);
}

// step.grads follows step.compute within the unit, so that waiting for the slot there suffices.
void Gradients::open(const esp_step& step) {
  for (const Window& window : chunks_.windows.opens(step.pos)) {
    states_.enter(window.block, Gradient::kOpen);
    if (!chunks_.needs_gradient_slot(window.block)) continue;
    const uint32_t slot = slots_->take(step.compute);
    slot_of_[window.block] = slot;
    bind(chunks_.layout.blocks()[window.block], slots_->data(slot), ESP_WRITE_NOW);
  }
}

void Gradients::close(const esp_step& step) {
  for (const Window& window : chunks_.windows.closes(step.pos)) {
    fence_.order(step.grads, reduction_);
    if (chunks_.needs_gradient_slot(window.block)) {
      reduce(chunks_.layout.blocks()[window.block], window.first);
      slots_->give_back(slot_of_[window.block], reduction_);
    }
    states_.enter(window.block, Gradient::kSummed);
  }
}

void Gradients::finish(const Block& chunk) {
  states_.enter(chunk.index, Gradient::kFinal);
  fence_.order(reduction_, stream(chunks_.tier(chunk)));
}

void Gradients::bind(const Block& chunk, void* whole, uint32_t mode) const {
  std::vector<esp_bind> binds;
  for (const esp::kit::Place& place : chunk.places) {
    binds.push_back({place.param, ESP_BIND_GRAD, element(whole, place.offset - chunk.begin, grad_t_), grad_t_, mode});
  }
  binder_.bind({binds.data(), binds.size()});
}

void Gradients::reduce(const Block& chunk, bool first) {
  void* whole = slots_->data(slot_of_[chunk.index]);
  void* own = element(whole, chunks_.partition.begin(chunk) - chunk.begin, grad_t_);
  const bool on_device = update_place(chunks_.tier(chunk)) == ESP_DEVICE;
  const bool into_sum = on_device && first && sum_t_ == grad_t_ && !chunks_.alone();
  if (!chunks_.alone()) {
    chunks_.host.comm.reduce_scatter(chunks_.group, whole, into_sum ? sum(chunk) : own, chunks_.part(chunk), grad_t_,
                                     ESP_AVG, reduction_);
  }
  if (into_sum) return;
  if (on_device) {
    add(chunk, own, first, reduction_);
  } else {
    send_to_host(chunk, own, first);
  }
}

void Gradients::add(const Block& chunk, const void* part, bool first, esp_stream stream) const {
  const esp::Kernels& kernels = chunks_.host.kernels;
  if (first) {
    kernels.convert(sum(chunk), sum_t_, part, grad_t_, chunks_.part(chunk), stream);
  } else {
    kernels.axpby(chunks_.part(chunk), 1.0f, nullptr, part, grad_t_, 1.0f, nullptr, sum(chunk), sum_t_, stream);
  }
}

// Crosses in the gradients' own dtype; what has to be widened or added lands beside the sum.
void Gradients::send_to_host(const Block& chunk, const void* part, bool first) {
  const esp::Kernels& kernels = chunks_.host.kernels;
  const uint64_t bytes = chunks_.part(chunk) * ESP_DTYPE_BYTES(grad_t_);
  if (first && sum_t_ == grad_t_) {
    kernels.copy(sum(chunk), part, bytes, reduction_);
    return;
  }
  void* landed = landing_[chunk.index].data();
  if (has_landed_[chunk.index]) chunks_.host.device.wait(reduction_, added_[chunk.index]);
  kernels.copy(landed, part, bytes, reduction_);
  fence_.order(reduction_, cpu_);
  add(chunk, landed, first, cpu_);
  chunks_.host.device.record(added_[chunk.index], cpu_);
  has_landed_[chunk.index] = true;
}

}  // namespace gemini
