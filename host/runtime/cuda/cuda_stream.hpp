// A stream of a GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/device/device.hpp"

namespace esp::runtime {

class CudaStream final : public Stream {
 public:
  // priority: lower is more urgent, cut to what the GPU offers. `retire` is called at the end, with the index.
  CudaStream(uint32_t index, int32_t priority, std::string name, std::function<void(uint32_t)> retire);
  ~CudaStream() override;

  esp_stream handle() const override { return reinterpret_cast<esp_stream>(stream_); }
  uint32_t kind() const override { return ESP_STREAM_DEVICE; }
  uint32_t index() const override { return index_; }
  const std::string& name() const override { return name_; }
  cudaStream_t raw() const { return stream_; }

 private:
  uint32_t index_;
  std::string name_;
  std::function<void(uint32_t)> retire_;
  cudaStream_t stream_ = nullptr;
};

// Of a stream of kind ESP_STREAM_DEVICE of a CudaDevice.
inline cudaStream_t raw(const Stream& stream) { return static_cast<const CudaStream&>(stream).raw(); }
inline bool on_gpu(const Stream& stream) { return stream.kind() == ESP_STREAM_DEVICE; }

}  // namespace esp::runtime
