/* Data parallelism in plain C, on the C headers alone: replicas, one all-reduce of all gradients behind backward, then
 * norm and update. No overlap; plugins/ddp is the C++ one to use. */
#include "replica.h"

static esp_status create(const esp_host* host, const esp_config* config, void** self, esp_error* error) {
  replica* r = calloc(1, sizeof *r);
  if (r == NULL) return refuse(error, ESP_E_HOST_MEMORY, "host memory is exhausted");
  const esp_status status = replica_open(r, host, config, error);
  if (status == ESP_OK) {
    *self = r;
  } else {
    free(r);
  }
  return status;
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

static esp_status end_pass(void* self, const esp_step* step, esp_error* error) {
  replica* r = self;
  esp_status status = replica_await_gradients(r, step, error);
  if (status != ESP_OK) return status;
  status = r->comm->all_reduce(r->ctx, r->group, r->grads, r->grads, r->size, ESP_F32, ESP_AVG, step->compute, error);
  return status == ESP_OK ? replica_update(r, step, NULL, error) : status;
}

static esp_status state(void* self, const esp_shard_sink* sink, esp_error* error) {
  return replica_list_state(self, sink, ESP_SHARD_REPLICATED, error);
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
  const esp_status status = check_hello(hello, error);
  if (status == ESP_OK) *out = &plugin;
  return status;
}
