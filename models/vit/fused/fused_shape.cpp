#include "fused_shape.hpp"

#include <algorithm>

namespace esp::vit::fused {
namespace {

constexpr int kHead = 64;
constexpr int kMostTokens = 208;
constexpr int kWidest = 1024;
constexpr int kLane = 8;

// Slots of a block over `rows` images; only those that `keep` keeps are carved, the others are left NULL.
BlockSlots carve_block(Carver& carver, const ModelShape& shape, uint64_t rows, bool last, bool norms, bool gelu) {
  const auto c = static_cast<uint64_t>(shape.hidden);
  const auto inner = static_cast<uint64_t>(shape.inner);
  const uint64_t all = rows * static_cast<uint64_t>(shape.tokens());
  const uint64_t m = last ? rows : all;
  BlockSlots slots;
  if (norms) slots.norm1 = carver.halves(all * c);
  slots.qkv = carver.halves(all * c * (last ? 2 : 3));
  if (last) slots.query = carver.halves(rows * c);
  slots.attended = carver.halves(m * c);
  slots.middle = carver.halves(m * c);
  if (norms) slots.norm2 = carver.halves(m * c);
  slots.inner = carver.halves(m * inner);
  if (gelu) slots.gelu = carver.halves(m * inner);
  slots.moments1 = carver.array<Moments>(all);
  slots.moments2 = carver.array<Moments>(m);
  if (!last) slots.lse = carver.array<float>(all * static_cast<uint64_t>(shape.heads));
  return slots;
}

// Takes the slots that are NULL from what is shared.
void complete(BlockSlots& slots, const BlockSlots& shared) {
  if (slots.norm1 == nullptr) slots.norm1 = shared.norm1;
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
    // The last block's slots are few, and its backward comes right after its forward: nothing of it is computed twice.
    const bool own = keep != Keep::kInputs || last;
    BlockSlots slots = scratch.shared;
    if (own) {
      const bool norms = keep < Keep::kNoGeluNorm || last;
      slots = carve_block(carver, shape, rows, last, norms, keep == Keep::kAll || last);
      complete(slots, scratch.shared);
    }
    kept.blocks.push_back(slots);
  }
  kept.head = carve_head(carver, shape, rows);
  return kept;
}

Activations carve_evaluation(Carver& carver, const ModelShape& shape, uint64_t rows) {
  Activations kept;
  void* inputs[2] = {carver.halves(block_input(shape, rows)), carver.halves(block_input(shape, rows))};
  const BlockSlots slots = carve_block(carver, shape, rows, false, true, true);
  for (int layer = 0; layer < shape.layers; ++layer) {
    kept.inputs.push_back(inputs[layer % 2]);
    kept.blocks.push_back(slots);
  }
  // With one block the slots above are not its own; its query needs a place either way.
  kept.blocks.back().query = carver.halves(rows * static_cast<uint64_t>(shape.hidden));
  kept.head = carve_head(carver, shape, rows);
  return kept;
}

Scratch carve_scratch(Carver& carver, const ModelShape& shape, uint64_t rows, uint64_t eval_rows, Keep keep,
                      int processors) {
  const auto c = static_cast<uint64_t>(shape.hidden);
  const auto inner = static_cast<uint64_t>(shape.inner);
  const auto classes = static_cast<uint64_t>(shape.classes);
  const auto tokens = static_cast<uint64_t>(shape.tokens());
  const uint64_t m = rows * tokens;
  Scratch scratch;
  scratch.matmul = carver.bytes(kMatmulBytes);
  scratch.packed = carver.halves(3 * c * c + 3 * c);
  const uint64_t widest = std::max({inner, 3 * c, static_cast<uint64_t>(shape.patch_values())});
  scratch.wide[0] = carver.halves(std::max(rows, eval_rows) * tokens * widest);
  if (rows == 0) return scratch;
  const bool aside = weights_aside(rows, keep);
  if (aside) scratch.weight_matmul = carver.bytes(kMatmulBytes);
  scratch.wide[1] = aside ? carver.halves(m * widest) : scratch.wide[0];
  for (void*& qkv : scratch.qkv) qkv = aside ? carver.halves(m * 3 * c) : scratch.wide[0];
  scratch.flow[0] = carver.halves(m * c);
  for (void** of_block : {&scratch.flow[1], &scratch.flow[2], &scratch.middle[0], &scratch.middle[1]}) {
    *of_block = aside ? carver.halves(m * c) : scratch.flow[0];
  }
  scratch.branch = carver.halves(m * c);
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
  if (keep == Keep::kInputs) {
    scratch.shared = carve_block(carver, shape, rows, false, true, true);
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
        carve_block(one, shape, rows, last, of_level < Keep::kNoGeluNorm || last, of_level == Keep::kAll || last);
      }
      need.kept.push_back(rows != 0 ? one.used() : 0);
    }
    Carver head;
    carve_head(head, shape, rows);
    need.kept.push_back(rows != 0 ? head.used() : 0);
  }
  Carver scratch, evaluation;
  carve_scratch(scratch, shape, rows, eval_rows, keep, processors);
  carve_evaluation(evaluation, shape, eval_rows);
  uint64_t kept = 0;
  for (size_t unit = 0; unit < units; ++unit) kept += need.kept[static_cast<size_t>(keep) * units + unit];
  need.workspace = scratch.used() + (evaluation.used() > kept ? evaluation.used() - kept : 0);
  return need;
}

}  // namespace esp::vit::fused
