/* A strategy: where parameters, gradients and optimizer state live, and what is communicated when.
 *
 * Call order:  create plan prepare (state state_loaded)? (adapt)? STEP* destroy
 *   STEP  = variant begin_step PASS{n_passes}        training
 *         | begin_step (pre_forward post_forward)*   evaluation (ESP_STEP_EVAL), at any time between training steps
 *   PASS  = (pre_forward post_forward | pre_backward post_backward)* end_pass      in the order of view->train
 * After a hook has failed only destroy follows.
 *
 * Gradients: the model multiplies each sample's loss gradient by *loss_seed = loss_scale * W / samples(step), W being
 * the size of the data group. So a strategy averages over ranks (ESP_AVG) and adds over micro-batches, and the result
 * is the gradient of the mean over the step's samples. */
#ifndef ESPALIER_STRATEGY_H
#define ESPALIER_STRATEGY_H

#include <espalier/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ESP_STRATEGY_ID "esp.strategy/" ESP_REVISION

/* A strategy's answer to the view. Scaler fields: 0 = the host's default (2^16, floor 1, window 1000, hysteresis 2). */
typedef struct esp_plan {
  uint32_t struct_size;
  uint32_t n_passes;     /* passes over the micro-batches per step; 1 unless SAM and its like */
  uint32_t warmup_steps; /* eager steps wanted before capture or adapt */
  esp_dtype compute_t;   /* dtype of bound parameters */
  esp_dtype grad_t;      /* dtype of bound gradients */
  uint32_t reserved;
  uint64_t caps; /* ESP_CAP_ bits used in this configuration */
  float scale_init;
  float scale_min;
  uint32_t scale_window;
  uint32_t scale_hysteresis;
} esp_plan;

/* What memory is left to the strategy. Equal on all ranks, so that all decide alike: other_bytes is the maximum over
 * ranks, the budget the minimum. Valid during the call. */
typedef struct esp_profile {
  uint32_t struct_size;
  uint32_t n;        /* == view->n_train */
  uint64_t capacity; /* bytes of ESP_DEVICE memory the strategy may hold from here on: what esp_run.budget_device
                      * leaves beside the largest of other_bytes; UINT64_MAX without a budget */
  const uint64_t* other_bytes; /* [n] device bytes that host and model take beside the strategy's at each position: as
                                * the model plans it (esp_model_need), raised to the peak that warm-up showed */
} esp_profile;

#define ESP_SHARD_REPLICATED 0x00010000u /* every rank holds it, equal bit for bit */

/* Elements [lo, hi) of one slot of one parameter. slot: "param" (once per element and rank group, at the highest
 * precision held, frozen ones included), the names of esp_update_desc, then own ones. param == ESP_NO_PARAM: a blob of
 * hi bytes. */
typedef struct esp_shard {
  uint32_t struct_size;
  uint32_t param;
  const char* slot;
  uint64_t lo;
  uint64_t hi;
  void* data;
  esp_dtype dtype;
  uint32_t flags;
} esp_shard;

typedef struct esp_shard_sink {
  uint32_t struct_size;
  uint32_t reserved;
  void* ctx;
  esp_status (*add)(void* ctx, const esp_shard* shard, esp_error*);
} esp_shard_sink;

/* plan, prepare, destroy, state, state_loaded are required; the others may be NULL. */
typedef struct esp_strategy_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [main] Pure: no services, no memory. Refuses (ESP_E_UNSUPPORTED, with the numbers) what it cannot honour. It cannot
   * see esp.update's description yet, so a refusal by bytes (ESP_E_DEVICE_MEMORY) comes from prepare. */
  esp_status (*plan)(void* self, const esp_view* view, esp_plan* out, esp_error*);
  /* [main] Allocates and binds; also run dry, see memory.alloc. */
  esp_status (*prepare)(void* self, const esp_view* view, const esp_binder* binder, esp_error*);
  /* [main & !in-step] With ESP_CAP_ADAPTS in plan's caps: once, behind the first max(1, esp_plan.warmup_steps) training
   * steps and before the next; not in a run that ends there, nor in one that only evaluates. All ranks, streams idle,
   * nothing captured, or thrown away. May allocate, free, enqueue, use collectives and bind with prepare's binder; the
   * host syncs afterwards. No value of `state` changes; pointers in `state` may, here only, so the host lists anew.
   * Must stay within capacity on the way, too, or refuse with the numbers (ESP_E_DEVICE_MEMORY). Also run dry behind a
   * dry prepare, see memory.alloc, with other_bytes as the model plans them. */
  esp_status (*adapt)(void* self, const esp_profile* profile, esp_error*);
  /* [main & !in-step] Streams are idle. */
  void (*destroy)(void* self);
  /* [main & !in-step] Before every training step, replayed or not: a number < 16 that names the step's device work.
   * Equal number = same work on the same addresses. */
  uint32_t (*variant)(void* self, uint64_t index);
  /* [compute & in-step] The six hooks; those of evaluations are called each time, never replayed. On return from
   * pre_*(u), work enqueued next on step->compute sees valid parameters of u. On entry to post_*(u), all work of u is
   * enqueued; its gradients are final on step->grads. */
  esp_status (*begin_step)(void* self, const esp_step* step, esp_error*);
  esp_status (*pre_forward)(void* self, const esp_step* step, uint32_t unit, esp_error*);
  esp_status (*post_forward)(void* self, const esp_step* step, uint32_t unit, esp_error*);
  esp_status (*pre_backward)(void* self, const esp_step* step, uint32_t unit, esp_error*);
  esp_status (*post_backward)(void* self, const esp_step* step, uint32_t unit, esp_error*);
  /* [compute & in-step] After the last item of a pass; not in EVAL. The last pass finishes gradients and applies. */
  esp_status (*end_pass)(void* self, const esp_step* step, esp_error*);
  /* [main & !in-step] Lists every shard this rank holds, in the same order each time. The host fills them
   * (initialisation, load) or reads them (save, export). */
  esp_status (*state)(void* self, const esp_shard_sink* sink, esp_error*);
  /* [main & !in-step] All ranks, after shards were filled; may enqueue and use collectives; the host syncs afterwards.
   */
  esp_status (*state_loaded)(void* self, esp_error*);
} esp_strategy_v1;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* ESPALIER_STRATEGY_H */
