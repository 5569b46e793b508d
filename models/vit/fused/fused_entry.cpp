// What libvit_cuda.so exports.
#include "fused_executor.hpp"

namespace esp::vit::fused {
namespace {

FusedExecutor& of(void* self) { return *static_cast<FusedExecutor*>(self); }

esp_status create(const Setup* setup, void** self, esp_error* error) {
  // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new): guarded catches it
  return guarded("create", error, [&] { *self = new FusedExecutor(*setup); });
}
void destroy(void* self) { delete static_cast<FusedExecutor*>(self); }
esp_status prepare(void* self, const esp_model_run* run, esp_error* error) {
  return guarded("prepare", error, [&] { of(self).prepare(*run); });
}
esp_status bind(void* self, const esp_bind* binds, uint32_t n, esp_error* error) {
  return guarded("bind", error, [&] { of(self).bind(Slice<const esp_bind>(binds, n)); });
}
esp_status begin_micro(void* self, const esp_step* step, const esp_tensor* const* inputs, uint32_t n,
                       esp_error* error) {
  return guarded("begin_micro", error, [&] { of(self).begin_micro(*step, Slice<const esp_tensor* const>(inputs, n)); });
}
esp_status forward_unit(void* self, const esp_step* step, uint32_t unit, esp_error* error) {
  return guarded("forward_unit", error, [&] { of(self).forward_unit(*step, unit); });
}
esp_status loss(void* self, const esp_step* step, esp_error* error) {
  return guarded("loss", error, [&] { of(self).loss(*step); });
}
esp_status backward_unit(void* self, const esp_step* step, uint32_t unit, esp_error* error) {
  return guarded("backward_unit", error, [&] { of(self).backward_unit(*step, unit); });
}

constexpr FusedTable kTable = {sizeof(FusedTable), create,       destroy, prepare,      bind,
                               begin_micro,        forward_unit, loss,    backward_unit};

}  // namespace
}  // namespace esp::vit::fused

extern "C" ESP_EXPORT const esp::vit::fused::FusedTable* espalier_vit_fused() { return &esp::vit::fused::kTable; }
