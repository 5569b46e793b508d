/* Local SGD in plain C, on the C headers alone: local_sgd.cpp without the C++ layer. Every rank trains on its own;
 * every `period` steps the weights become their mean. That is a variant, since a replayed step runs no hook. */
#include "replica.h"

enum { kAlone, kAverages };

typedef struct local_sgd {
  replica replica; /* first: one pointer for both */
  uint64_t period;
} local_sgd;

static const esp_option period_option = {.struct_size = sizeof period_option,
                                         .type = ESP_OPT_I64,
                                         .flags = ESP_OPT_SWEEPABLE,
                                         .key = "period",
                                         .doc = "steps between two averages",
                                         .def = {.type = ESP_OPT_I64, .v = {.i = 8}},
                                         .min = {.type = ESP_OPT_I64, .v = {.i = 1}},
                                         .max = {.type = ESP_OPT_I64, .v = {.i = 4096}}};
static const esp_option* const options[] = {&period_option};

static esp_status create(const esp_host* host, const esp_config* config, void** self, esp_error* error) {
  local_sgd* s = calloc(1, sizeof *s);
  if (s == NULL) return refuse(error, ESP_E_HOST_MEMORY, "host memory is exhausted");
  const esp_status status = replica_open(&s->replica, host, config, error);
  if (status != ESP_OK) {
    free(s);
    return status;
  }
  s->replica.memory_flags = ESP_MEM_COMM; /* weights are averaged, all state is spread */
  s->period = (uint64_t)config->values[0].v.i;
  *self = s;
  return ESP_OK;
}

static void destroy(void* self) {
  replica_close(self);
  free(self);
}

static esp_status plan(void* self, const esp_view* view, esp_plan* out, esp_error* error) {
  (void)self, (void)view, (void)error;
  return replica_plan(out);
}

static esp_status prepare(void* self, const esp_view* view, const esp_binder* binder, esp_error* error) {
  return replica_prepare(self, view, binder, error);
}

static uint32_t variant(void* self, uint64_t index) {
  return (index + 1) % ((local_sgd*)self)->period == 0 ? kAverages : kAlone;
}

/* The norm is over the group: gradients differ, yet all ranks clip, skip or stop alike. */
static esp_status end_pass(void* self, const esp_step* step, esp_error* error) {
  replica* r = self;
  esp_status status = replica_await_gradients(r, step, error);
  if (status == ESP_OK) status = replica_update(r, step, r->group, error);
  if (status != ESP_OK || step->variant != kAverages) return status;
  return r->comm->all_reduce(r->ctx, r->group, r->weights, r->weights, r->size, ESP_F32, ESP_AVG, step->compute, error);
}

/* Between two averages the ranks differ: the first rank's copy is the one that is kept. */
static esp_status state(void* self, const esp_shard_sink* sink, esp_error* error) {
  replica* r = self;
  return r->rank == 0 ? replica_list_state(r, sink, 0, error) : ESP_OK;
}

/* What the first rank holds goes to all others: a sum to which they add zeros. */
static esp_status spread(replica* r, void* data, esp_dtype dtype, esp_error* error) {
  const esp_stream compute = r->device->compute(r->ctx);
  esp_status status = ESP_OK;
  if (r->rank != 0) status = r->kernels->zero(r->ctx, data, r->size * ESP_DTYPE_BYTES(dtype), compute, error);
  if (status != ESP_OK) return status;
  return r->comm->all_reduce(r->ctx, r->group, data, data, r->size, dtype, ESP_SUM, compute, error);
}

static esp_status state_loaded(void* self, esp_error* error) {
  replica* r = self;
  esp_status status = spread(r, r->weights, ESP_F32, error);
  for (uint32_t i = 0; status == ESP_OK && !r->infers && i < r->desc->n_slots; ++i) {
    status = spread(r, r->slots[i], r->desc->slots[i]->dtype, error);
  }
  return status;
}

static const esp_strategy_v1 table_v1 = {.struct_size = sizeof table_v1,
                                         .plan = plan,
                                         .prepare = prepare,
                                         .destroy = destroy,
                                         .variant = variant,
                                         .end_pass = end_pass,
                                         .state = state,
                                         .state_loaded = state_loaded};

static const void* table(const char* id) { return strcmp(id, ESP_STRATEGY_ID) == 0 ? &table_v1 : NULL; }

static const esp_component component = {.struct_size = sizeof component,
                                        .kind = ESP_STRATEGY,
                                        .id = "local-sgd-c",
                                        .version = "1.0.0",
                                        .summary = "local steps, weights averaged every few of them; plain C",
                                        .caps = ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_INFER,
                                        .options = options,
                                        .n_options = 1,
                                        .create = create,
                                        .table = table};
static const esp_component* const components[] = {&component};
static const esp_plugin plugin = {.struct_size = sizeof plugin,
                                  .abi_minor_built = ESP_ABI_MINOR,
                                  .abi_minor_needed = ESP_ABI_MINOR,
                                  .n_components = 1,
                                  .components = components,
                                  .id = "org.espalier.examples.localsgdc",
                                  .version = "1.0.0"};

ESP_NOTE("org.espalier.examples.localsgdc", "1.0.0", "strategy:local-sgd-c");

esp_status esp_plugin_entry_v1(const esp_hello* hello, const esp_plugin** out, esp_error* error) {
  const esp_status status = check_hello(hello, error);
  if (status == ESP_OK) *out = &plugin;
  return status;
}
