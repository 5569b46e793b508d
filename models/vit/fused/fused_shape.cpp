#include "fused_shape.hpp"

#include <algorithm>

namespace esp::vit::fused {
namespace {

constexpr int kHead = 64;
constexpr int kMostTokens = 208;
constexpr int kWidest = 1024;
constexpr int kLane = 8;

// What a block has of its own.
struct Own {
  bool norms = true, gelu = true;
  bool tokens = true;  // false: neither norm1 nor qkv, the last block's only slots over all tokens
};

Own own_of(Keep keep, bool last) {
  // The last block's slots are few, and its backward comes right after its forward: nothing of it is computed twice.
  if (last) return {true, true, keep != Keep::kInputs};
  return {keep < Keep::kNoGeluNorm, keep == Keep::kAll, true};
}

// Slots of a block over `rows` images; what it does not own is left NULL.
BlockSlots carve_block(Carver& carver, const ModelShape& shape, uint64_t rows, bool last, const Own& own) {
  const auto c = static_cast<uint64_t>(shape.hidden);
  const auto inner = static_cast<uint64_t>(shape.inner);
  const uint64_t all = rows * static_cast<uint64_t>(shape.tokens());
  const uint64_t m = last ? rows : all;
  BlockSlots slots;
  if (own.norms && own.tokens) slots.norm1 = carver.halves(all * c);
  if (own.tokens) slots.qkv = carver.halves(all * c * (last ? 2 : 3));
  if (last) slots.query = carver.halves(rows * c);
  slots.attended = carver.halves(m * c);
  slots.middle = carver.halves(m * c);
  if (own.norms) slots.norm2 = carver.halves(m * c);
  slots.inner = carver.halves(m * inner);
  if (own.gelu) slots.gelu = carver.halves(m * inner);
  slots.moments1 = carver.array<Moments>(all);
  slots.moments2 = carver.array<Moments>(m);
  if (!last) slots.lse = carver.array<float>(all * static_cast<uint64_t>(shape.heads));
  return slots;
}

// Takes the slots that are NULL from what is shared.
void complete(BlockSlots& slots, const BlockSlots& shared) {
  if (slots.norm1 == nullptr) slots.norm1 = shared.norm1;
  if (slots.qkv == nullptr) slots.qkv = shared.qkv;
  if (slots.norm2 == nullptr) slots.norm2 = shared.norm2;
  if (slots.gelu == nullptr) slots.gelu = shared.gelu;
}

HeadSlots carve_head(Carver& carver, const ModelShape& shape, uint64_t rows) {
  const auto c = static_cast<uint64_t>(shape.hidden);
  HeadSlots head;
  head.input = carver.halves(rows * c);
  head.norm = carver.halves(rows * c);
  head.moments = carver.array<Moments>(rows);
  head.logits = carver.array<float>(rows * static_cast<uint64_t>(shape.classes));
  head.dlogits = carver.array<float>(rows * static_cast<uint64_t>(shape.classes));
  return head;
}

uint64_t block_input(const ModelShape& shape, uint64_t rows) {
  return rows * static_cast<uint64_t>(shape.tokens()) * static_cast<uint64_t>(shape.hidden);
}

}  // namespace

std::string refusal(const ModelShape& shape) {
  const auto number = [](int value) { return std::to_string(value); };
  if (shape.hidden != shape.heads * kHead) return "its heads are not 64 wide";
  if (shape.tokens() > kMostTokens) {
    return "it has " + number(shape.tokens()) + " tokens, fused attention holds " + number(kMostTokens);
  }
  if (shape.hidden > kWidest) return "it is " + number(shape.hidden) + " wide, fused norms hold " + number(kWidest);
  if (shape.patch % kLane != 0) return "its patches' side is no multiple of 8";
  if (shape.inner % kLane != 0) return "its MLP's width is no multiple of 8";
  return "";
}

Activations carve_activations(Carver& carver, const ModelShape& shape, uint64_t rows, Keep keep, Scratch& scratch) {
  Activations kept;
  for (int layer = 0; layer < shape.layers; ++layer) {
    const bool last = layer + 1 == shape.layers;
    kept.inputs.push_back(carver.halves(block_input(shape, rows)));
    BlockSlots slots = scratch.shared;
    if (keep != Keep::kInputs || last) {
      slots = carve_block(carver, shape, rows, last, own_of(keep, last));
      complete(slots, scratch.shared);
    }
    kept.blocks.push_back(slots);
  }
  kept.head = carve_head(carver, shape, rows);
  return kept;
}

Activations carve_evaluation(Carver& carver, const ModelShape& shape, uint64_t rows, const BlockSlots* lent) {
  Activations kept;
  void* inputs[2] = {carver.halves(block_input(shape, rows)), carver.halves(block_input(shape, rows))};
  const BlockSlots slots = lent != nullptr ? *lent : carve_block(carver, shape, rows, false, {});
  for (int layer = 0; layer < shape.layers; ++layer) {
    kept.inputs.push_back(inputs[layer % 2]);
    kept.blocks.push_back(slots);
  }
  // With one block the slots above are not its own; its query needs a place either way.
  kept.blocks.back().query = carver.halves(rows * static_cast<uint64_t>(shape.hidden));
  kept.head = carve_head(carver, shape, rows);
  return kept;
}

namespace {

// The slots of blocks that keep nothing but their inputs, see Scratch.
void carve_halves(Carver& carver, const ModelShape& shape, uint64_t rows, Scratch& scratch) {
  const auto c = static_cast<uint64_t>(shape.hidden);
  const uint64_t m = rows * static_cast<uint64_t>(shape.tokens());
  const auto behind_qkv = [&](void* place) {
    return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(place) + (m * 3 * c * 2 + 255) / 256 * 256);
  };
  BlockSlots& shared = scratch.shared;
  shared.inner = scratch.wide[0];
  scratch.branch = behind_qkv(scratch.wide[0]);
  shared.gelu = carver.bytes(m * std::max(static_cast<uint64_t>(shape.inner), 4 * c) * 2 + 255);
  shared.qkv = shared.gelu;
  shared.attended = behind_qkv(shared.gelu);
  shared.middle = carver.halves(m * c);
  shared.norm1 = shared.norm2 = carver.halves(m * c);
  shared.moments1 = carver.array<Moments>(m);
  shared.moments2 = carver.array<Moments>(m);
  shared.lse = carver.array<float>(m * static_cast<uint64_t>(shape.heads));
}

}  // namespace

Scratch carve_scratch(Carver& carver, const ModelShape& shape, uint64_t rows, uint64_t eval_rows, Keep keep,
                      int processors) {
  const auto c = static_cast<uint64_t>(shape.hidden);
  const auto inner = static_cast<uint64_t>(shape.inner);
  const auto classes = static_cast<uint64_t>(shape.classes);
  const auto tokens = static_cast<uint64_t>(shape.tokens());
  const uint64_t m = rows * tokens;
  Scratch scratch;
  scratch.matmul = carver.bytes(matmul_bytes(keep));
  scratch.packed = carver.halves(3 * c * c + 3 * c);
  const bool halves = keep == Keep::kInputs;
  const uint64_t widest = std::max({inner, (halves ? 4 : 3) * c, static_cast<uint64_t>(shape.patch_values())});
  scratch.wide[0] = carver.bytes(std::max(rows, eval_rows) * tokens * widest * 2 + (halves ? 255 : 0));
  if (rows == 0) return scratch;
  const bool aside = weights_aside(rows, keep);
  if (aside) scratch.weight_matmul = carver.bytes(matmul_bytes(keep));
  scratch.wide[1] = aside ? carver.halves(m * widest) : scratch.wide[0];
  for (void*& qkv : scratch.qkv) qkv = aside ? carver.halves(m * 3 * c) : scratch.wide[0];
  scratch.flow[0] = carver.halves(m * c);
  for (void** of_block : {&scratch.flow[1], &scratch.flow[2], &scratch.middle[0], &scratch.middle[1]}) {
    *of_block = aside ? carver.halves(m * c) : scratch.flow[0];
  }
  if (!halves) scratch.branch = carver.halves(m * c);
  scratch.class_flow = carver.halves(rows * c);
  scratch.class_middle = carver.halves(rows * c);
  scratch.class_branch = carver.halves(rows * c);
  scratch.class_query = carver.halves(rows * c);
  const uint64_t partials = static_cast<uint64_t>(processors) * 3 * c;
  for (float*& of_norm : scratch.norm1_partials) of_norm = carver.array<float>(partials);
  for (float*& of_norm : scratch.norm2_partials) of_norm = carver.array<float>(partials);
  scratch.head_partials = carver.array<float>(partials);
  const uint64_t strips = (inner + 255) / 256;  // of columns, as GELU's backward cuts them: four blocks a processor
  for (float*& of_gelu : scratch.gelu_partials) {
    of_gelu = carver.array<float>((4 * static_cast<uint64_t>(processors) / strips + 1) * inner);
  }
  for (float*& of_attention : scratch.attention_partials) of_attention = carver.array<float>(rows * 2 * c);
  scratch.classifier = carver.array<float>(classes * c + classes);
  scratch.positions = carver.array<float>(tokens * c);
  if (halves) {
    carve_halves(carver, shape, rows, scratch);
  } else {
    if (keep >= Keep::kNoGelu) scratch.shared.gelu = carver.halves(m * inner);
    if (keep >= Keep::kNoGeluNorm) {
      scratch.shared.norm1 = carver.halves(m * c);
      scratch.shared.norm2 = carver.halves(m * c);
    }
  }
  return scratch;
}

MemoryNeed memory_need(const ModelShape& shape, uint64_t rows, uint64_t eval_rows, Keep keep, int processors) {
  MemoryNeed need;
  const auto units = static_cast<size_t>(shape.layers) + 2;
  for (uint32_t level = 0; level < kKeepLevels; ++level) {
    const Keep of_level = static_cast<Keep>(level);
    need.kept.push_back(0);
    for (int layer = 0; layer < shape.layers; ++layer) {
      const bool last = layer + 1 == shape.layers;
      Carver one;
      one.halves(block_input(shape, rows));
      if (of_level != Keep::kInputs || last) {
        carve_block(one, shape, rows, last, own_of(of_level, last));
      }
      need.kept.push_back(rows != 0 ? one.used() : 0);
    }
    Carver head;
    carve_head(head, shape, rows);
    need.kept.push_back(rows != 0 ? head.used() : 0);
  }
  Carver scratch, evaluation;
  const Scratch places = carve_scratch(scratch, shape, rows, eval_rows, keep, processors);
  carve_evaluation(evaluation, shape, eval_rows, lent_to_evaluation(places, rows, eval_rows, keep));
  uint64_t kept = 0;
  for (size_t unit = 0; unit < units; ++unit) kept += need.kept[static_cast<size_t>(keep) * units + unit];
  need.workspace = scratch.used() + (evaluation.used() > kept ? evaluation.used() - kept : 0);
  return need;
}

}  // namespace esp::vit::fused
