/* A dataset: named splits of samples. The host does order, sharding, prefetch and copies to the device.
 *
 * Call order:  create describe prepare fetch* destroy */
#ifndef ESPALIER_DATASET_H
#define ESPALIER_DATASET_H

#include <espalier/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ESP_DATASET_ID "esp.dataset/" ESP_REVISION

typedef struct esp_split {
  uint32_t struct_size;
  uint32_t reserved;
  const char* name; /* "train", "validation", "test" */
  uint64_t count;   /* samples */
} esp_split;

typedef struct esp_dataset_desc {
  uint32_t struct_size;
  uint32_t n_splits;
  uint32_t n_classes;
  uint32_t n_notes;
  const esp_split* const* splits;
  const char* const* classes; /* [n_classes]; label i is classes[i] */
  const char* name;           /* e.g. the folder, or "synthetic leaves" */
  const char* const* notes;   /* [n_notes] lines a user should read once, e.g. files that were skipped by rule */
  uint64_t fingerprint;       /* of the content as far as it is known before decoding; equal on all ranks */
} esp_dataset_desc;

/* What will be fetched. It and all that it points to live until prepare returns. */
typedef struct esp_dataset_run {
  uint32_t struct_size;
  uint32_t n_fields;
  const esp_field* const* fields; /* as the model wants them, see esp_field */
  uint32_t n_splits;
  uint32_t workers;       /* threads that prepare may use */
  const uint32_t* splits; /* [n_splits] indices of the splits that will be fetched */
  const uint64_t* limits; /* [n_splits] only samples below this index will be fetched; 0 = all */
} esp_dataset_run;

#define ESP_FETCH_EVAL 0x00010000u /* fetch flags: no augmentation */

/* All required. */
typedef struct esp_dataset_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [main] Looks at names and sizes, not at samples. *out lives until destroy. */
  esp_status (*describe)(void* self, const esp_dataset_desc** out, esp_error*);
  /* [main] May decode everything. Names damaged samples. Refuses fields it cannot deliver. */
  esp_status (*prepare)(void* self, const esp_dataset_run* run, esp_error*);
  /* [worker] Writes samples `indices` of a split into out[f] = dense [n, ...] of field f, host memory. A function of
   * (esp_run.seed, epoch, index) alone. */
  esp_status (*fetch)(void* self, uint32_t split, uint64_t epoch, const uint64_t* indices, uint32_t n, uint32_t flags,
                      void* const* out, esp_error*);
  /* [main] */
  void (*destroy)(void* self);
} esp_dataset_v1;

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* ESPALIER_DATASET_H */
