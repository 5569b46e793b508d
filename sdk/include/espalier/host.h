/* The host's services: log, device, memory, comm, kernels, update. Ask for a table in `create`, keep the pointer.
 *
 * Streams. There is no current stream: what enqueues work names one. The host orders every stream of an instance after
 * `compute` before begin_step, and `compute` after all of them after the last hook; a strategy does neither. No event
 * of one step may be waited for in another. Hooks never block the host. Failures of enqueued work are sticky: the next
 * table call returns them, and so does the end of the step.
 *
 * Places. ESP_STREAM_DEVICE streams touch ESP_DEVICE memory, ESP_STREAM_CPU streams touch ESP_PINNED memory; only
 * kernels.copy crosses. The CPU device keeps and checks the distinction, and limits ESP_DEVICE to
 * esp_run.budget_device. Only functions run by device.call may dereference memory from memory.alloc.
 *
 * Scalars that change per step (loss scale, lr, norm, ...) live in device memory at fixed addresses: see esp_scalars.
 */
#ifndef ESPALIER_HOST_H
#define ESPALIER_HOST_H

#include <espalier/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- esp.log ---------------------------------------------------------------------------------------------------- */

#define ESP_LOG_ID "esp.log/" ESP_REVISION
#define ESP_LOG_DEBUG 0u
#define ESP_LOG_INFO 1u
#define ESP_LOG_WARNING 2u
#define ESP_LOG_ERROR 3u
#define ESP_LOG_HOST_MISBEHAVES 4u
#define ESP_LOG_PLUGIN_MISBEHAVES 5u

typedef struct esp_log_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [any] One line of UTF-8 without a newline; the host adds rank and component. */
  void (*log)(void* ctx, uint32_t level, const char* text, uint64_t bytes);
} esp_log_v1;

/* ---- esp.device ------------------------------------------------------------------------------------------------- */

#define ESP_DEVICE_ID "esp.device/" ESP_REVISION
#define ESP_STREAM_DEVICE 1u
#define ESP_STREAM_CPU 2u

/* Streams and events are created in create, prepare or adapt and die with the instance. */
typedef struct esp_device_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [any] The stream on which the model computes. */
  esp_stream (*compute)(void* ctx);
  /* [main & !in-step] kind: ESP_STREAM_; priority as in CUDA (lower is more urgent), a hint. */
  esp_status (*stream_create)(void* ctx, uint32_t kind, int32_t priority, esp_stream* out, esp_error*);
  /* [main & !in-step] */
  esp_status (*event_create)(void* ctx, esp_event* out, esp_error*);
  /* [main, compute] The event now stands for everything enqueued on the stream so far. */
  esp_status (*record)(void* ctx, esp_event, esp_stream, esp_error*);
  /* [main, compute] Later work on the stream runs after the most recent record (as of this call); never recorded:
   * no-op. Works between any two streams. */
  esp_status (*wait)(void* ctx, esp_stream, esp_event, esp_error*);
  /* [main, compute] Runs fn(copy of the `bytes` at arg) on the stream; arg is 16-byte aligned there. fn must not call
   * tables. ESP_E_UNSUPPORTED on CUDA device streams. */
  esp_status (*call)(void* ctx, esp_stream cpu, void (*fn)(void* arg), const void* arg, uint64_t bytes, esp_error*);
  /* [main & !in-step] Blocks until the stream is idle; returns a sticky failure. */
  esp_status (*sync)(void* ctx, esp_stream, esp_error*);
} esp_device_v1;

/* ---- esp.memory ------------------------------------------------------------------------------------------------- */

#define ESP_MEMORY_ID "esp.memory/" ESP_REVISION
#define ESP_DEVICE 1u /* place */
#define ESP_PINNED 2u

#define ESP_TAG_OTHER 0u
#define ESP_TAG_PARAM 1u
#define ESP_TAG_GRAD 2u
#define ESP_TAG_OPTIMIZER 3u /* masters and optimizer slots */
#define ESP_TAG_BUCKET 4u    /* communication and staging buffers */
#define ESP_TAG_ACTIVATION 5u
#define ESP_TAG_WORKSPACE 6u
#define ESP_TAG_INPUT 7u
#define ESP_N_TAGS 16u

#define ESP_MEM_COMM 0x1u /* flags: will be used in collectives */

typedef struct esp_memory_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [main & !in-step] Zeroed, at least 256-byte aligned, freed with the instance at the latest. Counted, also against
   * budgets, in multiples of 256 bytes, at least one. In a dry run (host plan) the address counts but must not be
   * touched, so prepare and adapt neither dereference memory nor branch on addresses. */
  esp_status (*alloc)(void* ctx, uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags, void** out, esp_error*);
  /* [main & !in-step] NULL is ignored. */
  void (*free)(void* ctx, void* memory);
} esp_memory_v1;

/* ---- esp.comm --------------------------------------------------------------------------------------------------- */

#define ESP_COMM_ID "esp.comm/" ESP_REVISION
#define ESP_SUM 1u
#define ESP_AVG 2u /* as if summed and divided in fp32 (fp64 for F64) and rounded once */
#define ESP_MAX 3u /* NaN where any rank has one, as ESP_MIN */
#define ESP_MIN 4u

/* Collectives of one communicator run in the order of their calls, whatever streams they are on; all members issue the
 * same sequence. Counts are elements, and may be 0. Dtypes: F64 (CPU only), F32, BF16, F16; all_gather also U8.
 * In place is legal: all_reduce with in == out, all_gather with in == out + rank * n_in, reduce_scatter with
 * out == in + rank * n_out. */
typedef struct esp_comm_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [any] The data-parallel group (not the world), this rank's place in it and its size. */
  esp_status (*data)(void* ctx, esp_comm* out, int32_t* rank, int32_t* size);
  /* [main & !in-step] A communicator of the named members (ranks within parent, ascending); called by all members of
   * the parent in the same order. *out is NULL for ranks that are not in it. */
  esp_status (*subset)(void* ctx, esp_comm parent, const int32_t* ranks, uint32_t n, esp_comm* out, esp_error*);
  /* [main, compute] out[i] = op over ranks of in[i], i < n. */
  esp_status (*all_reduce)(void* ctx, esp_comm, const void* in, void* out, uint64_t n, esp_dtype, uint32_t op,
                           esp_stream, esp_error*);
  /* [main, compute] Rank r gets op over ranks of in[r * n_out ...]: in has size * n_out elements. */
  esp_status (*reduce_scatter)(void* ctx, esp_comm, const void* in, void* out, uint64_t n_out, esp_dtype, uint32_t op,
                               esp_stream, esp_error*);
  /* [main, compute] out has size * n_in elements, rank r's at r * n_in. */
  esp_status (*all_gather)(void* ctx, esp_comm, const void* in, void* out, uint64_t n_in, esp_dtype, esp_stream,
                           esp_error*);
} esp_comm_v1;

/* ---- esp.kernels ------------------------------------------------------------------------------------------------ */

#define ESP_KERNELS_ID "esp.kernels/" ESP_REVISION

#define ESP_SOP_SET 1u /* dst = a */
#define ESP_SOP_ADD 2u
#define ESP_SOP_SUB 3u
#define ESP_SOP_MUL 4u
#define ESP_SOP_DIV 5u
#define ESP_SOP_MIN 6u
#define ESP_SOP_MAX 7u
#define ESP_SOP_SQRT 8u    /* dst = sqrt(a) */
#define ESP_SOP_SELECT 9u  /* dst = dst != 0 ? a : b */
#define ESP_SOP_FINITE 10u /* dst = a is finite ? 1 : 0 */
#define ESP_SOP_IMM 255u   /* as b: the immediate */

/* dst = op(a, b); dst, a, b index `regs`. Frozen, 8 bytes. */
typedef struct esp_sop {
  uint8_t op, dst, a, b;
  float imm;
} esp_sop;

/* [main, compute] all. Run where the stream lives. x and y may be of different float dtypes; arithmetic is fp32 (fp64
 * when one is F64), rounded once. */
typedef struct esp_kernels_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* Any place to any place; ranges must not overlap. */
  esp_status (*copy)(void* ctx, void* dst, const void* src, uint64_t bytes, esp_stream, esp_error*);
  esp_status (*zero)(void* ctx, void* dst, uint64_t bytes, esp_stream, esp_error*);
  esp_status (*convert)(void* ctx, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n, esp_stream,
                        esp_error*);
  /* y = a * (*pa) * x + b * (*pb) * y. b == 0 never reads y; pa, pb: device scalars, NULL = 1. */
  esp_status (*axpby)(void* ctx, uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b,
                      const float* pb, void* y, esp_dtype y_t, esp_stream, esp_error*);
  /* *add_to += sum of squares, summed in fp64. */
  esp_status (*sum_sq)(void* ctx, const void* x, uint64_t n, esp_dtype, float* add_to, esp_stream, esp_error*);
  /* Up to 32 operations on up to 250 device scalars, in order, in one launch. */
  esp_status (*scalars)(void* ctx, const esp_sop* ops, uint32_t n, float* const* regs, uint32_t n_regs, esp_stream,
                        esp_error*);
} esp_kernels_v1;

/* ---- esp.update ------------------------------------------------------------------------------------------------- */

/* The optimizer, gradient clipping, loss scaling and the step count belong to the host. A strategy allocates `master`
 * and the slots for what it owns, gives gradients to the norm, and applies the update range by range. */
#define ESP_UPDATE_ID "esp.update/" ESP_REVISION

#define ESP_UPDATE_NORM 0x00010000u    /* call norm_add for all owned gradients, then norm_finish, once per pass-end */
#define ESP_UPDATE_BARRIER 0x00020000u /* apply only after norm_finish was issued (clipping, fp16) */

typedef struct esp_slot {
  uint32_t struct_size;
  esp_dtype dtype;
  const char* name; /* "exp_avg", "exp_avg_sq", "momentum" */
} esp_slot;

typedef struct esp_update_desc {
  uint32_t struct_size;
  uint32_t flags;
  esp_dtype master; /* dtype of the weights the optimizer works on */
  uint32_t n_slots;
  const esp_slot* const* slots;
} esp_update_desc;

/* Device memory of the host at fixed addresses; read-only, for strategies with an optimizer of their own. */
typedef struct esp_scalars {
  uint32_t struct_size;
  uint32_t n_groups;
  const float* lr;           /* [n_groups] */
  const float* weight_decay; /* [n_groups] */
  const float* coef;         /* what a gradient is multiplied with: clipping over loss scale */
  const float* applied_steps;
  const float* loss_scale;
  const float* found_inf; /* 1: this step is skipped */
  const float* grad_norm; /* unscaled, before clipping */
  const uint64_t* step;
} esp_scalars;

/* Elements [offset, offset + n) of one parameter; all pointers are to the first of them. `out`: copy in the compute
 * dtype written in the same pass, or NULL (also when master is the compute copy). slots: [desc.n_slots]. */
typedef struct esp_range {
  uint32_t struct_size;
  uint32_t param;
  uint64_t offset;
  uint64_t n;
  void* master;
  void* const* slots;
  const void* grad;
  void* out;
  esp_dtype grad_t;
  esp_dtype out_t;
} esp_range;

typedef struct esp_update_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [any] Valid from plan's return on; fixed for the run. In `plan` itself the services must not be used. */
  const esp_update_desc* (*desc)(void* ctx);
  const esp_scalars* (*scalars)(void* ctx);
  /* [compute] Adds the squares of n gradient elements (parameters only, no padding). May be called on several streams.
   */
  esp_status (*norm_add)(void* ctx, const void* grad, uint64_t n, esp_dtype, esp_stream, esp_error*);
  /* [compute] Once: completes the norm. `sharded_over`: the group whose ranks hold different parts; NULL = each rank
   * added all of it. The host orders it after every norm_add, and later applies after it, whatever the streams. */
  esp_status (*norm_finish)(void* ctx, esp_comm sharded_over, esp_stream, esp_error*);
  /* [compute] Once per step for every trainable element owned; on a CPU stream all pointers are to ESP_PINNED memory.
   */
  esp_status (*apply)(void* ctx, const esp_range* const* ranges, uint32_t n, esp_stream, esp_error*);
} esp_update_v1;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* ESPALIER_HOST_H */
