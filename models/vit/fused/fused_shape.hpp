// Sizes of a fused run and the memory that they need: by arithmetic, without a device. Both libraries use it: libvit.so
// to plan, libvit_cuda.so to allocate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace esp::vit::fused {

// How much is kept from forward to backward, from all to the blocks' inputs alone.
enum class Keep : uint32_t { kAll, kNoGelu, kNoGeluNorm, kInputs };
inline constexpr uint32_t kKeepLevels = 4;

struct ModelShape {
  int32_t hidden = 0, layers = 0, heads = 0, inner = 0;
  int32_t side = 0, patch = 0, classes = 0;  // pixels along an image's and a patch's side
  int32_t qkv_bias = 1;
  float eps = 0;

  int tokens() const { return side / patch * (side / patch) + 1; }
  int patch_values() const { return 3 * patch * patch; }
};

// Why the kernels cannot compute this model: one line; empty: they can.
std::string refusal(const ModelShape& shape);

// Hands out 256-byte aligned pieces of a block of memory one after the other; without memory it only counts.
class Carver {
 public:
  explicit Carver(void* memory = nullptr) : memory_(reinterpret_cast<uintptr_t>(memory)) {}
  void* bytes(uint64_t n) {
    void* piece = reinterpret_cast<void*>(memory_ + used_);
    used_ += (n + 255) / 256 * 256;
    return piece;
  }
  template <class T>
  T* array(uint64_t n) {
    return static_cast<T*>(bytes(n * sizeof(T)));
  }
  void* halves(uint64_t n) { return bytes(n * 2); }
  uint64_t used() const { return used_; }

 private:
  uintptr_t memory_;
  uint64_t used_ = 0;
};

struct Moments {
  float mean, rstd;
};

// What a block keeps. Rows are the images' tokens; in the last block those behind `qkv` are the images' class tokens,
// and qkv holds key and value only.
struct BlockSlots {
  void* norm1 = nullptr;
  void* qkv = nullptr;
  void* query = nullptr;  // last block: [B, C]
  void* attended = nullptr;
  void* middle = nullptr;
  void* norm2 = nullptr;
  void* inner = nullptr;  // before GELU
  void* gelu = nullptr;
  Moments* moments1 = nullptr;
  Moments* moments2 = nullptr;
  float* lse = nullptr;
};

struct HeadSlots {
  void* input = nullptr;  // [B, C], the last block's output
  void* norm = nullptr;
  Moments* moments = nullptr;
  float* logits = nullptr;
  float* dlogits = nullptr;
};

// From forward to backward.
struct Activations {
  std::vector<void*> inputs;  // of each block, [M, C]
  std::vector<BlockSlots> blocks;
  HeadSlots head;
};

// Used within a unit, or from one unit to the next. Arrays: blocks take turns by their index, so that a block's weight
// gradients may be computed while the block below is under way, and sums of columns are there when it wants them.
// Where weight gradients have no stream of their own, large ones are one and the same.
//
// Where inputs alone are kept, a block lives in two wide places, since it is computed again in halves: behind attention
// (MLP's backward), then attention alone. `wide` holds values before GELU, in attention's backward the gradients of
// query, key, value and branch; shared.gelu holds attention (shared.qkv, shared.attended), in between GELU's values and
// their gradient.
struct Scratch {
  void* matmul = nullptr;         // matmul_bytes
  void* weight_matmul = nullptr;  // the same for weight gradients on a stream of their own; NULL: they have none
  void* packed = nullptr;         // [3 C, C] and [3 C]: query, key and value together
  void* wide[2] = {};             // [M, max(I, patch values)]: gradients inside the MLP, patches
  void* qkv[2] = {};              // [M, 3 C]: gradients inside attention
  void* flow[3] = {};             // [M, C]: gradients of the residual stream, at the blocks' outputs
  void* middle[2] = {};           // [M, C]: and behind attention
  void* branch = nullptr;         // [M, C]: gradient of a branch of it
  void* class_flow = nullptr;     // [B, C]: the same three for class tokens, and the query's gradient
  void* class_middle = nullptr;
  void* class_branch = nullptr;
  void* class_query = nullptr;
  float* norm1_partials[3] = {};
  float* norm2_partials[2] = {};
  float* head_partials = nullptr;
  float* gelu_partials[2] = {};
  float* attention_partials[2] = {};
  float* classifier = nullptr;  // [classes * C + classes]
  float* positions = nullptr;   // [N, C]
  // Instead of what is not kept:
  BlockSlots shared;
};
// Of the products' own scratch memory. Who keeps the blocks' inputs alone wants memory more than the last percent.
inline uint64_t matmul_bytes(Keep keep) { return (keep == Keep::kInputs ? 8ull : 32ull) << 20; }

// Whether weight gradients of micro-batches of `rows` may have a stream of their own: small ones do not fill a GPU, and
// large ones only get into each other's way. What is computed twice has one place.
inline constexpr uint64_t kMostRowsAside = 64;
inline bool weights_aside(uint64_t rows, Keep keep) {
  return rows != 0 && rows <= kMostRowsAside && keep == Keep::kAll;
}

Activations carve_activations(Carver& carver, const ModelShape& shape, uint64_t rows, Keep keep, Scratch& scratch);
// Evaluation keeps nothing: two inputs in turns and one block's slots, its own or lent.
Activations carve_evaluation(Carver& carver, const ModelShape& shape, uint64_t rows, const BlockSlots* lent);
// Slots of training that hold a block of `eval_rows` images, or NULL.
inline const BlockSlots* lent_to_evaluation(const Scratch& scratch, uint64_t rows, uint64_t eval_rows, Keep keep) {
  return keep == Keep::kInputs && rows >= eval_rows && rows != 0 ? &scratch.shared : nullptr;
}
// rows: of a training micro-batch, 0 without training.
Scratch carve_scratch(Carver& carver, const ModelShape& shape, uint64_t rows, uint64_t eval_rows, Keep keep,
                      int processors);

struct MemoryNeed {
  std::vector<uint64_t> kept;  // [kKeepLevels][units] bytes
  uint64_t workspace = 0;
};
// rows: as above. processors: of a device not known yet; the largest there is will do.
MemoryNeed memory_need(const ModelShape& shape, uint64_t rows, uint64_t eval_rows, Keep keep, int processors = 144);

}  // namespace esp::vit::fused
