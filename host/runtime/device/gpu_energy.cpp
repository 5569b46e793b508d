#include "runtime/device/gpu_energy.hpp"

#include <dlfcn.h>

namespace esp::runtime {
namespace {

constexpr int kSuccess = 0;
constexpr size_t kUuidDigits = 32;

template <class Function>
Function lookup(void* library, const char* name) {
  return reinterpret_cast<Function>(dlsym(library, name));
}

}  // namespace

std::string nvml_uuid(const std::string& identity) {
  if (identity.size() != kUuidDigits) return "";
  return "GPU-" + identity.substr(0, 8) + "-" + identity.substr(8, 4) + "-" + identity.substr(12, 4) + "-" +
         identity.substr(16, 4) + "-" + identity.substr(20);
}

GpuEnergy::GpuEnergy(const std::string& identity) {
  const std::string uuid = nvml_uuid(identity);
  void* library = uuid.empty() ? nullptr : dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);  // never closed
  if (library == nullptr) return;
  const auto init = lookup<int (*)()>(library, "nvmlInit_v2");
  const auto find = lookup<int (*)(const char*, Device*)>(library, "nvmlDeviceGetHandleByUUID");
  const auto read = lookup<ReadEnergy>(library, "nvmlDeviceGetTotalEnergyConsumption");
  if (init == nullptr || find == nullptr || read == nullptr) return;
  if (init() != kSuccess || find(uuid.c_str(), &device_) != kSuccess) return;
  read_ = read;
}

std::optional<double> GpuEnergy::joules() const {
  unsigned long long millijoules = 0;
  if (read_ == nullptr || read_(device_, &millijoules) != kSuccess) return std::nullopt;
  return static_cast<double>(millijoules) * 1e-3;
}

}  // namespace esp::runtime
