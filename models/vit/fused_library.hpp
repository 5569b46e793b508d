// libvit_cuda.so, loaded when a GPU is to compute.
#pragma once

#include <espalier/model.h>

#include <espalier/failure.hpp>
#include <filesystem>

#include "fused/fused_table.h"

namespace esp::vit {

// Where it lies: in the folder above this library's, as installed, else beside it; empty: nowhere.
std::filesystem::path find_fused_library();

// One executor of that library. Functions as those of esp_model_v1; they throw Failure.
class FusedExecution {
 public:
  // setup is read before this returns. Throws Failure where the library is missing or of another build.
  explicit FusedExecution(const fused::Setup& setup);
  ~FusedExecution();
  FusedExecution(const FusedExecution&) = delete;
  FusedExecution& operator=(const FusedExecution&) = delete;

  void prepare(const esp_model_run& run);
  void bind(Slice<const esp_bind> binds);
  void begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs);
  void forward_unit(const esp_step& step, uint32_t unit);
  void loss(const esp_step& step);
  void backward_unit(const esp_step& step, uint32_t unit);

 private:
  const fused::FusedTable& table_;
  void* self_ = nullptr;
};

}  // namespace esp::vit
