// The optimizer's side: masters and optimizer state of this rank's parts, and the way of new weights back home.
#pragma once

#include <espalier/kit/fence.hpp>
#include <espalier/kit/shard_set.hpp>
#include <espalier/kit/state_emitter.hpp>
#include <espalier/kit/update_list.hpp>

#include "chunks.hpp"
#include "gradients.hpp"
#include "weights.hpp"

namespace gemini {

// Chunks whose optimizer is in host memory are updated on a stream of the CPU as their gradients land, beside the
// model; where the home is on the device, another stream brings the new weights there.
class ChunkUpdate {
 public:
  // The parts outlive this.
  ChunkUpdate(const Chunks& chunks, const Weights& weights, Gradients& gradients);

  // The gradient gets no more contributions: it enters the norm, and the weights unless they wait for the norm.
  void gradient_complete(const Block& chunk);
  // Behind the last of them, on the stream.
  void finish(esp_stream stream);

  // In adapt, behind the chunk's home: masters and optimizer state go where its tier says, the values with them. Behind
  // all of them, relist.
  void move_optimizer(const Block& chunk, Tier from);
  void relist();

  void list_state(const esp::kit::StateEmitter& emitter, const Block& chunk) const;
  void masters_loaded() const;  // between steps: homes become what the masters are

 private:
  esp::kit::ShardSet new_set(const Block& chunk) const;
  esp::Buffer new_outbound(const Block& chunk) const;
  const esp::kit::ShardSet& set(const Block& chunk) const { return sets_[chunk.index]; }
  uint64_t in_part(const esp::kit::Piece& piece, const Block& chunk) const {
    return piece.at - chunks_.partition.begin(chunk);
  }
  void apply(const Block& chunk);
  // Where the optimizer leaves the weights of a chunk whose home is elsewhere.
  void* outbound(const Block& chunk) const;
  void send_home(const Block& chunk, esp_stream stream) const;

  const Chunks& chunks_;
  const Weights& weights_;
  Gradients& gradients_;
  const uint32_t flags_;  // ESP_UPDATE_
  const esp::kit::Fence fence_;
  std::vector<esp::kit::ShardSet> sets_;  // [trained chunks]
  std::vector<esp::Buffer> outbound_;  // [trained chunks] in host memory, empty where there is no way or masters serve
  esp_stream upload_;
  std::vector<esp::kit::UpdateList> updates_;  // [trained chunks]
};

}  // namespace gemini
