// How libvit.so talks to libvit_cuda.so, which it loads when a GPU is to compute. Both come out of one build: there is
// no negotiation beyond `size`. The functions mean what those of esp_model_v1 mean.
#pragma once

#include <espalier/model.h>

#include "fused_shape.hpp"

namespace esp::vit::fused {

// Ids of a model's parameters; kNoBias: it has none.
inline constexpr uint32_t kNoBias = 0xffffffffu;
struct AffineIds {
  uint32_t weight, bias;
};
struct BlockParameters {
  AffineIds norm1, query, key, value, attended, norm2, inner, outer;
};

struct Setup {
  ModelShape shape;
  float pixel_scale[3], pixel_shift[3];  // value = pixel * scale + shift
  uint32_t cls, position;
  AffineIds projection;
  const BlockParameters* blocks;  // [layers]
  AffineIds norm, classifier;
  uint32_t n_params;
  int32_t device;
  const esp_memory_v1* memory;
  void* memory_ctx;
  const esp_log_v1* log;  // may be NULL
  void* log_ctx;
};

struct FusedTable {
  uint32_t size;
  // *setup is read before it returns; the tables in it outlive *self.
  esp_status (*create)(const Setup* setup, void** self, esp_error*);
  void (*destroy)(void* self);
  esp_status (*prepare)(void* self, const esp_model_run* run, esp_error*);
  esp_status (*bind)(void* self, const esp_bind* binds, uint32_t n, esp_error*);
  esp_status (*begin_micro)(void* self, const esp_step* step, const esp_tensor* const* inputs, uint32_t n, esp_error*);
  esp_status (*forward_unit)(void* self, const esp_step* step, uint32_t unit, esp_error*);
  esp_status (*loss)(void* self, const esp_step* step, esp_error*);
  esp_status (*backward_unit)(void* self, const esp_step* step, uint32_t unit, esp_error*);
};

// The one symbol of libvit_cuda.so: const FusedTable* espalier_vit_fused().
#define ESPALIER_VIT_FUSED_SYMBOL "espalier_vit_fused"

}  // namespace esp::vit::fused
