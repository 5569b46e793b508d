/* Data parallelism in plain C, on the C headers alone: replicas, one all-reduce of all gradients behind backward, then
 * norm and update. fp32 only, no overlap; plugins/ddp is the C++ one to use. */

#include <espalier/strategy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct plain_ddp {
  void* ctx; /* of the host's tables */
  const esp_device_v1* device;
  const esp_memory_v1* memory;
  const esp_comm_v1* comm;
  const esp_update_v1* update;
  uint32_t infers;
  esp_comm group;
  esp_event gradients_final;
  const esp_view* view;
  const esp_update_desc* desc;
  uint64_t* offset; /* [n_params] first element of each parameter in the arenas */
  uint64_t size;    /* elements of an arena */
  float* weights;   /* masters too */
  float* grads;
  void** slots;      /* [n_slots] */
  esp_range* ranges; /* one a trainable parameter */
  void** range_slots;
  const esp_range** range_list;
  uint32_t n_ranges;
} plain_ddp;

static esp_status refuse(esp_error* error, esp_status code, const char* text) {
  if (error != NULL) {
    error->code = code;
    snprintf(error->where, sizeof error->where, "plain-ddp");
    snprintf(error->message, sizeof error->message, "%s", text);
  }
  return code;
}

static int trained(const plain_ddp* s, uint32_t p) {
  return !s->infers && (s->view->params[p]->flags & ESP_PARAM_TRAINABLE) != 0 && s->view->params[p]->numel > 0;
}

static void destroy(void* self) {
  plain_ddp* s = self;
  if (s->slots != NULL) {
    for (uint32_t i = 0; i < s->desc->n_slots; ++i) s->memory->free(s->ctx, s->slots[i]);
  }
  s->memory->free(s->ctx, s->weights);
  s->memory->free(s->ctx, s->grads);
  free(s->offset);
  free(s->slots);
  free(s->ranges);
  free(s->range_slots);
  free(s->range_list);
  free(s);
}

static esp_status create(const esp_host* host, const esp_config* config, void** self, esp_error* error) {
  plain_ddp* s = calloc(1, sizeof *s);
  int32_t rank, size;
  if (s == NULL) return refuse(error, ESP_E_HOST_MEMORY, "host memory is exhausted");
  s->ctx = host->ctx;
  s->device = host->service(host->ctx, ESP_DEVICE_ID);
  s->memory = host->service(host->ctx, ESP_MEMORY_ID);
  s->comm = host->service(host->ctx, ESP_COMM_ID);
  s->update = host->service(host->ctx, ESP_UPDATE_ID);
  if (!s->device || !s->memory || !s->comm || !s->update) {
    free(s);
    return refuse(error, ESP_E_ABI, "the host lacks a table");
  }
  s->infers = config->run->mode == ESP_MODE_INFER;
  if (config->run->precision != ESP_PRECISION_DEFAULT && config->run->precision != ESP_PRECISION_FP32) {
    free(s);
    return refuse(error, ESP_E_UNSUPPORTED, "only precision fp32 is offered");
  }
  s->comm->data(s->ctx, &s->group, &rank, &size);
  *self = s;
  return ESP_OK;
}

static esp_status plan(void* self, const esp_view* view, esp_plan* out, esp_error* error) {
  (void)self, (void)view, (void)error;
  out->n_passes = 1;
  out->compute_t = out->grad_t = ESP_F32;
  out->caps = ESP_CAP_CAPTURE_STEP;
  return ESP_OK;
}

/* Where everything lies: parameters one behind the other, 256-byte aligned in fp32. */
static esp_status lay_out(plain_ddp* s, esp_error* error) {
  s->offset = calloc(s->view->n_params, sizeof *s->offset);
  if (s->offset == NULL) return refuse(error, ESP_E_HOST_MEMORY, "host memory is exhausted");
  for (uint32_t p = 0; p < s->view->n_params; ++p) {
    s->offset[p] = s->size;
    s->size += (s->view->params[p]->numel + 63) / 64 * 64;
  }
  esp_status status = s->memory->alloc(s->ctx, ESP_DEVICE, s->size * 4, ESP_TAG_PARAM, 0, (void**)&s->weights, error);
  if (status != ESP_OK || s->infers) return status;
  return s->memory->alloc(s->ctx, ESP_DEVICE, s->size * 4, ESP_TAG_GRAD, ESP_MEM_COMM, (void**)&s->grads, error);
}

static esp_status make_ranges(plain_ddp* s, esp_error* error) {
  s->desc = s->update->desc(s->ctx);
  esp_status made = s->device->event_create(s->ctx, &s->gradients_final, error);
  if (made != ESP_OK) return made;
  if (s->desc->master != ESP_F32) return refuse(error, ESP_E_UNSUPPORTED, "only fp32 masters are offered");
  const uint32_t n_slots = s->desc->n_slots, n_params = s->view->n_params;
  s->slots = calloc(n_slots + 1u, sizeof *s->slots);
  s->ranges = calloc(n_params, sizeof *s->ranges);
  s->range_slots = calloc((size_t)n_params * n_slots + 1u, sizeof *s->range_slots);
  s->range_list = calloc(n_params, sizeof *s->range_list);
  if (!s->slots || !s->ranges || !s->range_slots || !s->range_list) {
    return refuse(error, ESP_E_HOST_MEMORY, "host memory is exhausted");
  }
  for (uint32_t i = 0; i < n_slots; ++i) {
    const uint64_t bytes = s->size * ESP_DTYPE_BYTES(s->desc->slots[i]->dtype);
    esp_status status = s->memory->alloc(s->ctx, ESP_DEVICE, bytes, ESP_TAG_OPTIMIZER, 0, &s->slots[i], error);
    if (status != ESP_OK) return status;
  }
  for (uint32_t p = 0; p < n_params; ++p) {
    if (!trained(s, p)) continue;
    void** slots = s->range_slots + (size_t)s->n_ranges * n_slots;
    for (uint32_t i = 0; i < n_slots; ++i) {
      slots[i] = (char*)s->slots[i] + s->offset[p] * ESP_DTYPE_BYTES(s->desc->slots[i]->dtype);
    }
    esp_range* range = &s->ranges[s->n_ranges];
    range->struct_size = sizeof *range;
    range->param = p;
    range->n = s->view->params[p]->numel;
    range->master = s->weights + s->offset[p];
    range->slots = slots;
    range->grad = s->grads + s->offset[p];
    range->grad_t = ESP_F32;
    s->range_list[s->n_ranges++] = range;
  }
  return ESP_OK;
}

static esp_status prepare(void* self, const esp_view* view, const esp_binder* binder, esp_error* error) {
  plain_ddp* s = self;
  s->view = view;
  esp_status status = lay_out(s, error);
  if (status == ESP_OK && !s->infers) status = make_ranges(s, error);
  for (uint32_t p = 0; status == ESP_OK && p < view->n_params; ++p) {
    if (view->params[p]->numel == 0) continue;
    esp_bind binds[2] = {{p, ESP_BIND_PARAM, s->weights + s->offset[p], ESP_F32, 0},
                         {p, ESP_BIND_GRAD, NULL, ESP_F32, ESP_WRITE_EACH_PASS}};
    if (trained(s, p)) binds[1].data = s->grads + s->offset[p];
    status = binder->bind(binder->ctx, binds, trained(s, p) ? 2 : 1, error);
  }
  return status;
}

/* All on the compute stream, behind the model's work and the gradients. */
static esp_status end_pass(void* self, const esp_step* step, esp_error* error) {
  plain_ddp* s = self;
  esp_status status = s->device->record(s->ctx, s->gradients_final, step->grads, error);
  if (status == ESP_OK) status = s->device->wait(s->ctx, step->compute, s->gradients_final, error);
  if (status != ESP_OK) return status;
  status = s->comm->all_reduce(s->ctx, s->group, s->grads, s->grads, s->size, ESP_F32, ESP_AVG, step->compute, error);
  if (status == ESP_OK && (s->desc->flags & ESP_UPDATE_NORM) != 0) {
    for (uint32_t i = 0; status == ESP_OK && i < s->n_ranges; ++i) {
      status = s->update->norm_add(s->ctx, s->ranges[i].grad, s->ranges[i].n, ESP_F32, step->compute, error);
    }
    if (status == ESP_OK) status = s->update->norm_finish(s->ctx, NULL, step->compute, error);
  }
  return status == ESP_OK ? s->update->apply(s->ctx, s->range_list, s->n_ranges, step->compute, error) : status;
}

static esp_status state(void* self, const esp_shard_sink* sink, esp_error* error) {
  plain_ddp* s = self;
  esp_status status = ESP_OK;
  for (uint32_t p = 0; status == ESP_OK && p < s->view->n_params; ++p) {
    const uint64_t n = s->view->params[p]->numel;
    esp_shard shard = {sizeof shard, p, "param", 0, n, s->weights + s->offset[p], ESP_F32, ESP_SHARD_REPLICATED};
    if (n == 0) continue;
    status = sink->add(sink->ctx, &shard, error);
    for (uint32_t i = 0; status == ESP_OK && trained(s, p) && i < s->desc->n_slots; ++i) {
      shard.slot = s->desc->slots[i]->name;
      shard.dtype = s->desc->slots[i]->dtype;
      shard.data = (char*)s->slots[i] + s->offset[p] * ESP_DTYPE_BYTES(shard.dtype);
      status = sink->add(sink->ctx, &shard, error);
    }
  }
  return status;
}

static esp_status state_loaded(void* self, esp_error* error) {
  (void)self, (void)error;
  return ESP_OK;
}

static const esp_strategy_v1 table_v1 = {.struct_size = sizeof table_v1,
                                         .plan = plan,
                                         .prepare = prepare,
                                         .destroy = destroy,
                                         .end_pass = end_pass,
                                         .state = state,
                                         .state_loaded = state_loaded};

static const void* table(const char* id) { return strcmp(id, ESP_STRATEGY_ID) == 0 ? &table_v1 : NULL; }

static const esp_component component = {.struct_size = sizeof component,
                                        .kind = ESP_STRATEGY,
                                        .id = "plain-ddp",
                                        .version = "1.0.0",
                                        .summary = "replicas, one all-reduce a step; plain C",
                                        .caps = ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_INFER,
                                        .create = create,
                                        .table = table};
static const esp_component* const components[] = {&component};
static const esp_plugin plugin = {.struct_size = sizeof plugin,
                                  .abi_minor_built = ESP_ABI_MINOR,
                                  .abi_minor_needed = ESP_ABI_MINOR,
                                  .n_components = 1,
                                  .components = components,
                                  .id = "org.espalier.examples.plainddp",
                                  .version = "1.0.0"};

ESP_NOTE("org.espalier.examples.plainddp", "1.0.0", "strategy:plain-ddp");

esp_status esp_plugin_entry_v1(const esp_hello* hello, const esp_plugin** out, esp_error* error) {
  if (!ESP_HAS(esp_hello, hello, sdk_hash) || hello->abi_major != ESP_ABI_MAJOR || hello->sdk_hash != ESP_SDK_HASH) {
    return refuse(error, ESP_E_ABI, "host and plugin were built from different headers");
  }
  *out = &plugin;
  return ESP_OK;
}
