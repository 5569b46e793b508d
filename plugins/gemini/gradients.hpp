// Gradients: whole only while backward writes them, then this rank's part of their mean, where its optimizer is.
#pragma once

#include <espalier/kit/fence.hpp>
#include <espalier/kit/lifecycle.hpp>
#include <espalier/kit/slots.hpp>
#include <optional>

#include "chunks.hpp"

namespace gemini {

// Of a chunk in a step: nothing yet; being written by the model; a part of the sum; final; in the weights.
enum class Gradient : uint32_t { kNone, kOpen, kSummed, kFinal, kApplied };

class Gradients {
 public:
  // ahead: see gradient_slots; reduction: a device stream that averages, sends and sums; updating: one for updates on
  // the device. The chunks outlive this.
  Gradients(const Chunks& chunks, const esp::Binder& binder, bool ahead, esp_stream reduction, esp_stream updating);

  // In adapt, where nothing of a step is left: gives all memory back, and takes what the chunks' tiers ask for.
  void release();
  void take();

  void begin_step();
  void open(const esp_step& step);   // in pre_backward
  void close(const esp_step& step);  // in post_backward

  // The sum will not change any more: it is complete on stream(its tier), also where no backward
  // has touched it and it is zero.
  void finish(const Block& chunk);
  void applied(const Block& chunk) { states_.enter(chunk.index, Gradient::kApplied); }

  // This rank's part.
  void* sum(const Block& chunk) const { return sums_[chunk.index].data(); }
  esp_dtype dtype() const { return sum_t_; }
  // Where chunks of that tier are updated.
  esp_stream stream(Tier tier) const { return update_place(tier) == ESP_PINNED ? cpu_ : updating_; }

 private:
  void bind(const Block& chunk, void* whole, uint32_t mode) const;
  void reduce(const Block& chunk, bool first);
  void add(const Block& chunk, const void* part, bool first, esp_stream stream) const;
  void send_to_host(const Block& chunk, const void* part, bool first);

  const Chunks& chunks_;
  const esp::Binder binder_;
  const bool ahead_;
  const esp_stream reduction_, updating_;
  esp_stream cpu_ = nullptr;  // made with the first sum in host memory: steps that have none can be captured on a GPU
  const esp_dtype grad_t_, sum_t_;
  const esp::kit::Fence fence_;
  std::vector<esp::Buffer> sums_;         // [trained chunks]
  std::vector<esp::Buffer> landing_;      // [trained chunks] in host memory, for what has yet to be added to the sum
  std::optional<esp::kit::Slots> slots_;  // absent between release and take
  std::vector<uint32_t> slot_of_;         // [trained chunks] while open
  std::vector<esp_event> added_;          // [trained chunks] the landing place has been read
  std::vector<bool> has_landed_;          // [trained chunks] in this step
  esp::kit::Lifecycle<Gradient> states_;
};

}  // namespace gemini
