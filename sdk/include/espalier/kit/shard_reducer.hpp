// Gradients that exist whole only while backward writes them, and then as one part per rank.
#ifndef ESPALIER_KIT_SHARD_REDUCER_HPP
#define ESPALIER_KIT_SHARD_REDUCER_HPP

#include <espalier/kit/block_schedule.hpp>
#include <espalier/kit/fence.hpp>
#include <espalier/kit/shard_set.hpp>
#include <espalier/kit/slots.hpp>
#include <espalier/strategy.hpp>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// Made in prepare. A block's gradients get a slot where its window opens; where the window closes they are averaged
// over the group, this rank's part is added to its shard, and the slot is free again. Shards of blocks that no backward
// touches stay zero.
class ShardReducer {
 public:
  // Of the layout's first n_blocks blocks. grad_t: what the model writes; with several windows a step, halves are added
  // up in fp32. stream: runs the reductions. layout, windows and partition outlive the reducer.
  ShardReducer(const Host& host, const Group& group, const Layout& layout, uint32_t n_blocks, const Windows& windows,
               const Partition& partition, esp_dtype grad_t, const Binder& binder, esp_stream stream)
      : host_(host),
        group_(group),
        layout_(layout),
        windows_(windows),
        partition_(partition),
        grad_t_(grad_t),
        binder_(binder),
        stream_(stream),
        fence_(host.device),
        slots_(host, std::min(windows.most_open() + 1, n_blocks), largest_block(n_blocks) * ESP_DTYPE_BYTES(grad_t),
               ESP_TAG_BUCKET),
        slot_of_(n_blocks) {
    uint64_t elements = 0;
    shard_t_ = grad_t;
    for (uint32_t block = 0; block < n_blocks; ++block) {
      elements += partition.size(layout.blocks()[block]);
      if (windows.count(block) > 1 && ESP_DTYPE_BYTES(grad_t) < 4) shard_t_ = ESP_F32;
    }
    shards_ = host.memory.device(elements * ESP_DTYPE_BYTES(shard_t_), ESP_TAG_GRAD, ESP_MEM_COMM);
  }

  void begin_step() { slots_.begin_step(); }

  // In pre_backward. step.grads follows step.compute within the unit, so waiting there suffices.
  void open(const esp_step& step) {
    for (const Window& window : windows_.opens(step.pos)) {
      const uint32_t slot = slots_.take(step.compute);
      slot_of_[window.block] = slot;
      bind(layout_.blocks()[window.block], slots_.data(slot));
    }
  }

  // In post_backward.
  void close(const esp_step& step) {
    for (const Window& window : windows_.closes(step.pos)) {
      fence_.order(step.grads, stream_);
      reduce(layout_.blocks()[window.block], window.first);
      slots_.give_back(slot_of_[window.block], stream_);
    }
  }

  // This rank's part of a block's gradient: complete on the stream behind the block's last window.
  void* shard(const Block& block) const { return shards_.at(partition_.at(block), shard_t_); }
  esp_dtype shard_dtype() const { return shard_t_; }

 private:
  uint64_t largest_block(uint32_t n_blocks) const {
    uint64_t largest = 0;
    for (uint32_t block = 0; block < n_blocks; ++block) largest = std::max(largest, layout_.blocks()[block].size());
    return largest;
  }

  void bind(const Block& block, void* slot) const {
    std::vector<esp_bind> binds;
    for (const Place& place : block.places) {
      binds.push_back(
          {place.param, ESP_BIND_GRAD, element(slot, place.offset - block.begin, grad_t_), grad_t_, ESP_WRITE_NOW});
    }
    binder_.bind({binds.data(), binds.size()});
  }

  void reduce(const Block& block, bool first) const {
    void* whole = slots_.data(slot_of_[block.index]);
    const uint64_t n = partition_.size(block);
    const bool direct = first && shard_t_ == grad_t_;
    void* own = direct ? shard(block) : element(whole, partition_.begin(block) - block.begin, grad_t_);
    host_.comm.reduce_scatter(group_, whole, own, n, grad_t_, ESP_AVG, stream_);
    if (direct) return;
    if (first) {
      host_.kernels.convert(shard(block), shard_t_, own, grad_t_, n, stream_);
    } else {
      host_.kernels.axpby(n, 1.0f, nullptr, own, grad_t_, 1.0f, nullptr, shard(block), shard_t_, stream_);
    }
  }

  const Host& host_;
  const Group group_;
  const Layout& layout_;
  const Windows& windows_;
  const Partition& partition_;
  const esp_dtype grad_t_;
  esp_dtype shard_t_;
  const Binder binder_;
  const esp_stream stream_;
  const Fence fence_;
  Slots slots_;
  std::vector<uint32_t> slot_of_;  // [n_blocks], while its window is open
  Buffer shards_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_SHARD_REDUCER_HPP
