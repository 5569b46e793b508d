#include "fused_library.hpp"

#include <dlfcn.h>

namespace esp::vit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "libvit_cuda.so";
constexpr const char* kAdvice = "; use model.executor = \"reference\"";

const fused::FusedTable& load() {
  const fs::path file = find_fused_library();
  if (file.empty()) fail(ESP_E_UNSUPPORTED, "this build has no fused executor (no ", kFile, ")", kAdvice);
  // Never closed: CUDA keeps pointers into it until the process ends.
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) fail(ESP_E_UNSUPPORTED, "the fused executor cannot be loaded: ", dlerror(), kAdvice);
  void* symbol = dlsym(handle, ESPALIER_VIT_FUSED_SYMBOL);
  const auto* table =
      symbol == nullptr ? nullptr : reinterpret_cast<const fused::FusedTable* (*)()>(symbol)();  // NOLINT
  if (table == nullptr || table->size != sizeof(fused::FusedTable)) {
    fail(ESP_E_ABI, file.string(), " is of another build than libvit.so; build both again");
  }
  return *table;
}

}  // namespace

fs::path find_fused_library() {
  Dl_info self{};
  dladdr(reinterpret_cast<void*>(&find_fused_library), &self);
  const fs::path folder = fs::absolute(self.dli_fname).parent_path();
  std::error_code ignored;
  for (const fs::path& at : {folder.parent_path() / kFile, folder / kFile}) {
    if (fs::exists(at, ignored)) return at;
  }
  return {};
}

FusedExecution::FusedExecution(const fused::Setup& setup) : table_(load()) {
  call("fused executor: create", table_.create, &setup, &self_);
}

FusedExecution::~FusedExecution() { table_.destroy(self_); }

void FusedExecution::prepare(const esp_model_run& run) { call("fused executor: prepare", table_.prepare, self_, &run); }

void FusedExecution::bind(Slice<const esp_bind> binds) {
  call("fused executor: bind", table_.bind, self_, binds.data(), static_cast<uint32_t>(binds.size()));
}

void FusedExecution::begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs) {
  call("fused executor: begin_micro", table_.begin_micro, self_, &step, inputs.data(),
       static_cast<uint32_t>(inputs.size()));
}

void FusedExecution::forward_unit(const esp_step& step, uint32_t unit) {
  call("fused executor: forward", table_.forward_unit, self_, &step, unit);
}

void FusedExecution::loss(const esp_step& step) { call("fused executor: loss", table_.loss, self_, &step); }

void FusedExecution::backward_unit(const esp_step& step, uint32_t unit) {
  call("fused executor: backward", table_.backward_unit, self_, &step, unit);
}

}  // namespace esp::vit
