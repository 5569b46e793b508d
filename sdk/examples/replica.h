/* The whole model on every rank, in plain C on the C headers alone: memory, binds, the ranges of an update, state. fp32
 * only, everything on the compute stream. The strategies in C of this folder are made of it; kit/replica.hpp is the C++
 * one, with blocks and overlap. */
#ifndef EXAMPLES_REPLICA_H
#define EXAMPLES_REPLICA_H

#include <espalier/strategy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct replica {
  void* ctx; /* of the host's tables */
  const esp_device_v1* device;
  const esp_memory_v1* memory;
  const esp_comm_v1* comm;
  const esp_kernels_v1* kernels;
  const esp_update_v1* update;
  uint32_t infers;
  uint32_t memory_flags; /* of weights and slots: ESP_MEM_COMM where collectives touch them */
  esp_comm group;        /* the data-parallel ranks */
  int32_t rank;
  int32_t n_ranks;
  esp_event gradients_final;
  const esp_view* view;
  const esp_update_desc* desc;
  uint64_t* offset; /* [n_params] first element of each parameter in the arenas */
  uint64_t size;    /* elements of an arena */
  float* weights;   /* masters too */
  float* grads;
  void** slots;      /* [n_slots] arenas */
  esp_range* ranges; /* one a trainable parameter */
  void** range_slots;
  const esp_range** range_list;
  uint32_t n_ranges;
} replica;

static inline esp_status refuse(esp_error* error, esp_status code, const char* text) {
  if (error != NULL) {
    error->code = code;
    snprintf(error->where, sizeof error->where, "replica");
    snprintf(error->message, sizeof error->message, "%s", text);
  }
  return code;
}

/* Nothing to give back on failure. */
static inline esp_status replica_open(replica* r, const esp_host* host, const esp_config* config, esp_error* error) {
  const uint32_t precision = config->run->precision;
  r->ctx = host->ctx;
  r->device = host->service(host->ctx, ESP_DEVICE_ID);
  r->memory = host->service(host->ctx, ESP_MEMORY_ID);
  r->comm = host->service(host->ctx, ESP_COMM_ID);
  r->kernels = host->service(host->ctx, ESP_KERNELS_ID);
  r->update = host->service(host->ctx, ESP_UPDATE_ID);
  if (!r->device || !r->memory || !r->comm || !r->kernels || !r->update) {
    return refuse(error, ESP_E_ABI, "the host lacks a table");
  }
  if (precision != ESP_PRECISION_DEFAULT && precision != ESP_PRECISION_FP32) {
    return refuse(error, ESP_E_UNSUPPORTED, "only precision fp32 is offered");
  }
  r->infers = config->run->mode == ESP_MODE_INFER;
  return r->comm->data(r->ctx, &r->group, &r->rank, &r->n_ranks);
}

/* Also after a prepare that failed half-way. */
static inline void replica_close(replica* r) {
  for (uint32_t i = 0; r->slots != NULL && i < r->desc->n_slots; ++i) r->memory->free(r->ctx, r->slots[i]);
  r->memory->free(r->ctx, r->weights);
  r->memory->free(r->ctx, r->grads);
  free(r->offset);
  free(r->slots);
  free(r->ranges);
  free(r->range_slots);
  free(r->range_list);
}

static inline esp_status replica_plan(esp_plan* out) {
  out->n_passes = 1;
  out->compute_t = out->grad_t = ESP_F32;
  out->caps = ESP_CAP_CAPTURE_STEP;
  return ESP_OK;
}

static inline int replica_trains(const replica* r, uint32_t p) {
  return !r->infers && (r->view->params[p]->flags & ESP_PARAM_TRAINABLE) != 0 && r->view->params[p]->numel > 0;
}

static inline esp_status replica_alloc(replica* r, uint64_t bytes, uint32_t tag, uint32_t flags, void** out,
                                       esp_error* error) {
  return r->memory->alloc(r->ctx, ESP_DEVICE, bytes, tag, flags, out, error);
}

/* Where everything lies: parameters one behind the other, 256-byte aligned in fp32. */
static inline esp_status replica_lay_out(replica* r, esp_error* error) {
  r->offset = calloc(r->view->n_params, sizeof *r->offset);
  if (r->offset == NULL) return refuse(error, ESP_E_HOST_MEMORY, "host memory is exhausted");
  for (uint32_t p = 0; p < r->view->n_params; ++p) {
    r->offset[p] = r->size;
    r->size += (r->view->params[p]->numel + 63) / 64 * 64;
  }
  esp_status status = replica_alloc(r, r->size * 4, ESP_TAG_PARAM, r->memory_flags, (void**)&r->weights, error);
  if (status != ESP_OK || r->infers) return status;
  return replica_alloc(r, r->size * 4, ESP_TAG_GRAD, ESP_MEM_COMM, (void**)&r->grads, error);
}

static inline void* replica_slot(const replica* r, uint32_t slot, uint32_t p) {
  return (char*)r->slots[slot] + r->offset[p] * ESP_DTYPE_BYTES(r->desc->slots[slot]->dtype);
}

static inline void replica_add_range(replica* r, uint32_t p) {
  const uint32_t n_slots = r->desc->n_slots;
  void** slots = r->range_slots + (size_t)r->n_ranges * n_slots;
  for (uint32_t i = 0; i < n_slots; ++i) slots[i] = replica_slot(r, i, p);
  esp_range* range = &r->ranges[r->n_ranges];
  range->struct_size = sizeof *range;
  range->param = p;
  range->n = r->view->params[p]->numel;
  range->master = r->weights + r->offset[p];
  range->slots = slots;
  range->grad = r->grads + r->offset[p];
  range->grad_t = ESP_F32;
  r->range_list[r->n_ranges++] = range;
}

static inline esp_status replica_make_ranges(replica* r, esp_error* error) {
  r->desc = r->update->desc(r->ctx);
  if (r->desc->master != ESP_F32) return refuse(error, ESP_E_UNSUPPORTED, "only fp32 masters are offered");
  esp_status status = r->device->event_create(r->ctx, &r->gradients_final, error);
  const uint32_t n_slots = r->desc->n_slots, n_params = r->view->n_params;
  r->slots = calloc(n_slots + 1u, sizeof *r->slots);
  r->ranges = calloc(n_params, sizeof *r->ranges);
  r->range_slots = calloc((size_t)n_params * n_slots + 1u, sizeof *r->range_slots);
  r->range_list = calloc(n_params, sizeof *r->range_list);
  if (!r->slots || !r->ranges || !r->range_slots || !r->range_list) {
    return refuse(error, ESP_E_HOST_MEMORY, "host memory is exhausted");
  }
  for (uint32_t i = 0; status == ESP_OK && i < n_slots; ++i) {
    const uint64_t bytes = r->size * ESP_DTYPE_BYTES(r->desc->slots[i]->dtype);
    status = replica_alloc(r, bytes, ESP_TAG_OPTIMIZER, r->memory_flags, &r->slots[i], error);
  }
  for (uint32_t p = 0; status == ESP_OK && p < n_params; ++p) {
    if (replica_trains(r, p)) replica_add_range(r, p);
  }
  return status;
}

static inline esp_status replica_prepare(replica* r, const esp_view* view, const esp_binder* binder, esp_error* error) {
  r->view = view;
  esp_status status = replica_lay_out(r, error);
  if (status == ESP_OK && !r->infers) status = replica_make_ranges(r, error);
  for (uint32_t p = 0; status == ESP_OK && p < view->n_params; ++p) {
    if (view->params[p]->numel == 0) continue;
    esp_bind binds[2] = {{p, ESP_BIND_PARAM, r->weights + r->offset[p], ESP_F32, 0},
                         {p, ESP_BIND_GRAD, NULL, ESP_F32, ESP_WRITE_EACH_PASS}};
    if (replica_trains(r, p)) binds[1].data = r->grads + r->offset[p];
    status = binder->bind(binder->ctx, binds, replica_trains(r, p) ? 2 : 1, error);
  }
  return status;
}

/* Later work on the compute stream sees the gradients of the step. */
static inline esp_status replica_await_gradients(replica* r, const esp_step* step, esp_error* error) {
  esp_status status = r->device->record(r->ctx, r->gradients_final, step->grads, error);
  return status == ESP_OK ? r->device->wait(r->ctx, step->compute, r->gradients_final, error) : status;
}

/* Norm, where it is wanted, and update. sharded_over: NULL where all ranks have the same gradients, else their group.
 */
static inline esp_status replica_update(replica* r, const esp_step* step, esp_comm sharded_over, esp_error* error) {
  esp_status status = ESP_OK;
  if ((r->desc->flags & ESP_UPDATE_NORM) != 0) {
    for (uint32_t i = 0; status == ESP_OK && i < r->n_ranges; ++i) {
      status = r->update->norm_add(r->ctx, r->ranges[i].grad, r->ranges[i].n, ESP_F32, step->compute, error);
    }
    if (status == ESP_OK) status = r->update->norm_finish(r->ctx, sharded_over, step->compute, error);
  }
  return status == ESP_OK ? r->update->apply(r->ctx, r->range_list, r->n_ranges, step->compute, error) : status;
}

/* flags: ESP_SHARD_REPLICATED when every rank lists, 0 when one does. */
static inline esp_status replica_list_state(replica* r, const esp_shard_sink* sink, uint32_t flags, esp_error* error) {
  esp_status status = ESP_OK;
  for (uint32_t p = 0; status == ESP_OK && p < r->view->n_params; ++p) {
    const uint64_t n = r->view->params[p]->numel;
    esp_shard shard = {sizeof shard, p, "param", 0, n, r->weights + r->offset[p], ESP_F32, flags};
    if (n == 0) continue;
    status = sink->add(sink->ctx, &shard, error);
    for (uint32_t i = 0; status == ESP_OK && replica_trains(r, p) && i < r->desc->n_slots; ++i) {
      shard.slot = r->desc->slots[i]->name;
      shard.dtype = r->desc->slots[i]->dtype;
      shard.data = replica_slot(r, i, p);
      status = sink->add(sink->ctx, &shard, error);
    }
  }
  return status;
}

/* For the entry: whether this host may use this library. */
static inline esp_status check_hello(const esp_hello* hello, esp_error* error) {
  if (!ESP_HAS(esp_hello, hello, sdk_hash) || hello->abi_major != ESP_ABI_MAJOR || hello->sdk_hash != ESP_SDK_HASH) {
    return refuse(error, ESP_E_ABI, "host and plugin were built from different headers");
  }
  return ESP_OK;
}

#endif
