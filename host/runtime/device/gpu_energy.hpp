// What a GPU has taken out of the wall, as its own counter says.
#pragma once

#include <optional>
#include <string>

namespace esp::runtime {

// Through the driver's management library (NVML), which is opened at run time.
class GpuEnergy {
 public:
  // identity: CudaApi::identity. Where there is no NVML, or the GPU has no counter, nothing is ever measured.
  explicit GpuEnergy(const std::string& identity);

  // Since the driver was loaded; the whole GPU, whoever uses it. The counter moves some ten times a second.
  std::optional<double> joules() const;

 private:
  using Device = struct NvmlDevice*;
  using ReadEnergy = int (*)(Device, unsigned long long* millijoules);

  Device device_ = nullptr;
  ReadEnergy read_ = nullptr;  // NULL: nothing to read
};

// "0123456789abcdef0123456789abcdef" as NVML writes it, GPU-01234567-89ab-cdef-0123-456789abcdef; empty when it is
// none.
std::string nvml_uuid(const std::string& identity);

}  // namespace esp::runtime
