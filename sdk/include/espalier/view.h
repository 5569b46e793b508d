/* What a strategy and a model both see: parameters, units, the schedule, binds and the step. */
#ifndef ESPALIER_VIEW_H
#define ESPALIER_VIEW_H

#include <espalier/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* CUDA device stream: the cudaStream_t itself. CPU stream: a queue of the host. Never NULL. */
typedef struct esp_stream_s* esp_stream;
typedef struct esp_event_s* esp_event;
typedef struct esp_comm_s* esp_comm; /* a communicator: an ordered set of ranks */

#define ESP_PARAM_TRAINABLE 0x1u /* esp_param.flags */
#define ESP_PARAM_NO_DECAY 0x2u

#define ESP_NO_PARAM 0xffffffffu

/* One parameter. Buffers (running statistics) are the host's and never listed. */
typedef struct esp_param {
  uint32_t struct_size;
  uint32_t id; /* its index in esp_view.params */
  const char* name;
  const int64_t* shape; /* [ndim], row-major */
  uint32_t ndim;
  uint32_t flags;
  uint64_t numel; /* may be 0: then it needs no bind and has no shard */
  uint32_t group; /* optimizer group: index into esp_scalars.lr and .weight_decay */
  uint32_t reserved;
} esp_param;

/* One link of the chain that the model is: embedding, a block, the head. A parameter may be used by several units. */
typedef struct esp_unit {
  uint32_t struct_size;
  uint32_t flags;
  const char* name;
  const uint32_t* uses; /* [n_uses] parameter ids that forward or backward of this unit reads */
  uint32_t n_uses;
  uint32_t reserved;
} esp_unit;

#define ESP_FWD 0u /* esp_item.phase */
#define ESP_BWD 1u

/* One entry of the schedule. Frozen, 16 bytes. */
typedef struct esp_item {
  uint32_t phase;
  uint32_t unit;
  uint32_t micro;
  uint32_t flags;
} esp_item;

/* The model and the order of work. `train` is one pass over all micro-batches of a step, in the order of the hooks;
 * after its last item the next step starts at 0. `eval` is one evaluation batch (FWD items only). Assume no other order
 * than the one written here. Owned by the host until destroy. */
typedef struct esp_view {
  uint32_t struct_size;
  uint32_t n_params;
  uint32_t n_units;
  uint32_t n_train;
  uint32_t n_eval;
  uint32_t reserved;
  const esp_param* const* params;
  const esp_unit* const* units;
  const esp_item* train;
  const esp_item* eval;
} esp_view;

#define ESP_BIND_PARAM 1u /* esp_bind.what */
#define ESP_BIND_GRAD 2u

/* Write mode of a gradient. EACH_PASS: the first write of every pass overwrites, later ones add; re-armed by itself.
 * NOW: the next write overwrites, later ones add, until the next bind. A gradient that no backward of the schedule
 * touches is never written: its strategy takes it as zero. Parameters: 0. */
#define ESP_WRITE_EACH_PASS 1u
#define ESP_WRITE_NOW 2u

/* Gives a parameter or its gradient an address. Dense, in the parameter's shape, at least 256-byte aligned unless the
 * strategy packs parameters tighter by choice of its own layout (kit: 256). data == NULL releases (optional). Frozen.
 */
typedef struct esp_bind {
  uint32_t param;
  uint32_t what;
  void* data;
  esp_dtype dtype;
  uint32_t mode;
} esp_bind;

/* [main in prepare and adapt; compute in hooks] Takes effect for work enqueued afterwards on the compute stream. Legal
 * in prepare, adapt and hooks; never between a unit's pre and post hook for a parameter of that unit. Binds that a
 * training step needs are made in prepare or adapt and left alone by EVAL, or made inside the step. A trainable
 * parameter without a bound gradient gets none. Valid until destroy. */
typedef struct esp_binder {
  uint32_t struct_size;
  uint32_t reserved;
  void* ctx;
  esp_status (*bind)(void* ctx, const esp_bind* binds, uint32_t n, esp_error*);
} esp_binder;

#define ESP_STEP_EVAL 0x00010000u      /* esp_step.flags */
#define ESP_STEP_CAPTURING 0x00020000u /* enqueued work is recorded, not run */
#define ESP_STEP_WARMUP 0x1u

/* Where the run is. Valid during the call. */
typedef struct esp_step {
  uint32_t struct_size;
  uint32_t flags;
  uint64_t index; /* training step, from 0; must not influence device work (see esp_strategy_v1.variant) */
  uint32_t micro;
  uint32_t pass;
  uint32_t pos; /* index into view->train, or into view->eval with ESP_STEP_EVAL */
  uint32_t variant;
  esp_stream compute;
  esp_stream grads; /* stream on which this unit's gradients are final when post_backward is called; often == compute.
                     * Within a unit it follows compute: its work begins behind what pre_backward put there */
} esp_step;

/* A dense, row-major array; borrowed. Frozen. */
typedef struct esp_tensor {
  void* data;
  const int64_t* shape;
  esp_dtype dtype;
  uint32_t ndim;
} esp_tensor;

/* One input that a model wants and a dataset delivers, per sample. Known names and their meaning:
 *   "pixels" U8 [H, W, 3]  RGB at the model's size      "flip" U8 []  1 = mirror left-right (0 in evaluation)
 *   "label"  I64 []        class number */
typedef struct esp_field {
  uint32_t struct_size;
  esp_dtype dtype;
  const char* name;
  const int64_t* shape; /* [ndim], of one sample */
  uint32_t ndim;
  uint32_t reserved;
} esp_field;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* ESPALIER_VIEW_H */
