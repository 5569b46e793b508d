/* A model: a chain of units in execution order, without storage of its own for parameters.
 *
 * Call order:  create describe (plan)* prepare bind* (init_range)* STEP* destroy;  save and memory_stats between steps
 *   STEP = (begin_micro forward_unit(0..U-1) loss backward_unit(U-1..0))*   in the order of the schedule
 *        | begin_micro forward_unit(0..U-1) loss                           evaluation (ESP_STEP_EVAL)
 * With loss, an evaluation writes metrics and predictions only.
 *
 * On a CPU device bind and all functions of a step run as items of the compute queue, in order, on its one thread, and
 * compute synchronously. On CUDA they enqueue on step->compute.
 *
 * Batches never change shape in training: rows at and beyond valid[micro] are padding with exactly zero effect on loss,
 * gradients and metrics, and a micro-batch without a valid row still runs every unit. */
#ifndef ESPALIER_MODEL_H
#define ESPALIER_MODEL_H

#include <espalier/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ESP_MODEL_ID "esp.model/" ESP_REVISION

/* No memory is needed for this: a model too large for any machine can be described. */
typedef struct esp_model_desc {
  uint32_t struct_size;
  uint32_t n_params;
  uint32_t n_units;
  uint32_t n_inputs;
  uint32_t n_classes;
  uint32_t n_recompute; /* levels, level 0 saves everything */
  const char* name;     /* e.g. "vit-tiny 192x12, patch 16, 224 px" */
  const esp_param* const* params;
  const esp_unit* const* units;
  const double* unit_flops; /* [n_units] forward FLOPs of one sample */
  const esp_field* const* inputs;
  const char* const* recompute; /* [n_recompute] names, e.g. "none", "block" */
  const char* const* notes;     /* [n_notes] lines a user should read once, e.g. that the head starts from scratch */
  uint32_t n_notes;
  uint32_t n_precisions;
  const uint32_t* precisions; /* [n_precisions] ESP_PRECISION_ numbers it runs on the device of the run */
} esp_model_desc;

/* Addresses: device memory of the host, fixed for the run; the model reads and writes them on the compute stream. */
typedef struct esp_model_run {
  uint32_t struct_size;
  uint32_t mode;
  uint32_t micro_rows; /* rows of a training micro-batch */
  uint32_t eval_rows;  /* rows of an evaluation batch */
  uint32_t n_micro;
  uint32_t recompute;  /* level, index into esp_model_desc.recompute */
  uint32_t precision;  /* ESP_PRECISION_, resolved */
  uint32_t flags;      /* ESP_RUN_ bits */
  esp_dtype compute_t; /* dtype of bound parameters */
  esp_dtype grad_t;    /* dtype of bound gradients */
  esp_stream compute;
  const uint8_t* trainable; /* [n_params] host memory: 1 = gets gradients. Overrides ESP_PARAM_TRAINABLE */
  const float* loss_seed;   /* see strategy.h; 1 number */
  const uint32_t* valid;    /* [max(n_micro, 1)] valid rows of each micro-batch; evaluation uses [0] */
  double* loss_sum;         /* += each valid sample's unscaled loss; in the first pass of a step only, as *correct */
  uint64_t* correct;        /* += valid samples whose largest logit is the label's */
  int32_t* predicted;       /* [eval_rows] class of each row; evaluation only */
} esp_model_run;

/* Device bytes the model will take beside parameters and gradients, per recompute level and unit. */
typedef struct esp_model_need {
  uint32_t struct_size;
  uint32_t reserved;
  const uint64_t* activation_bytes; /* [n_recompute * n_units], kept from forward to backward */
  uint64_t workspace_bytes;
} esp_model_need;

/* All required, but for `capture` and `memory_stats`. */
typedef struct esp_model_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [main] *out lives until destroy. */
  esp_status (*describe)(void* self, const esp_model_desc** out, esp_error*);
  /* [main] Sizes, without a device. *out's arrays live until the next call. */
  esp_status (*plan)(void* self, const esp_model_run* run, esp_model_need* out, esp_error*);
  /* [main] Sizes everything before the first step; *run lives until destroy. */
  esp_status (*prepare)(void* self, const esp_model_run* run, esp_error*);
  /* [any] Initial values of elements [lo, hi) of a parameter, fp32, into host memory: out[0] is element lo. From the
   * given weights, else a function of (seed, parameter name, element) alone: independent of partition, order and world
   * size. */
  esp_status (*init_range)(void* self, uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out, esp_error*);
  /* [compute] Alias-preserving: everything that aliases a parameter, what autograd saved included, reads the new
   * address. After a parameter's last backward use in a micro-batch its bound gradient has been written, with zeros if
   * nothing flowed. */
  esp_status (*bind)(void* self, const esp_bind* binds, uint32_t n, esp_error*);
  /* [compute & in-step] inputs: one tensor per esp_model_desc.inputs, shape [rows, ...], device memory of the host,
   * unchanged until the micro-batch's last hook. rows is micro_rows, or eval_rows with ESP_STEP_EVAL. */
  esp_status (*begin_micro)(void* self, const esp_step* step, const esp_tensor* const* inputs, uint32_t n, esp_error*);
  esp_status (*forward_unit)(void* self, const esp_step* step, uint32_t unit, esp_error*);
  esp_status (*loss)(void* self, const esp_step* step, esp_error*);
  esp_status (*backward_unit)(void* self, const esp_step* step, uint32_t unit, esp_error*);
  /* [compute] Optional: private allocations between begin = 1 and begin = 0 belong to the graph `key`. */
  esp_status (*capture)(void* self, uint64_t key, uint32_t begin, esp_error*);
  /* [main & !in-step] Optional: peak bytes by ESP_TAG_ that did not come from esp.memory. */
  esp_status (*memory_stats)(void* self, uint64_t by_tag[ESP_N_TAGS], esp_error*);
  /* [main & !in-step] Writes the folder that the model's own weights option reads. values[i]: parameter i, fp32, host
   * memory. dtype: of the file, F32, BF16 or F16. The folder exists and is empty. */
  esp_status (*save)(void* self, const char* folder, const float* const* values, uint32_t n, esp_dtype dtype,
                     esp_error*);
  /* [main & !in-step] */
  void (*destroy)(void* self);
} esp_model_v1;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* ESPALIER_MODEL_H */
