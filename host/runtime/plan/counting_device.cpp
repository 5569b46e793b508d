#include "runtime/plan/counting_device.hpp"

#include <utility>

#include "error.hpp"

namespace esp::runtime {
namespace {

class CountedStream final : public Stream {
 public:
  CountedStream(uint32_t kind, uint32_t index, std::string name) : kind_(kind), index_(index), name_(std::move(name)) {}
  esp_stream handle() const override { return reinterpret_cast<esp_stream>(const_cast<CountedStream*>(this)); }
  uint32_t kind() const override { return kind_; }
  uint32_t index() const override { return index_; }
  const std::string& name() const override { return name_; }

 private:
  uint32_t kind_, index_;
  std::string name_;
};

class NoTime final : public TimeMark {
 public:
  double seconds() override { return 0; }
};

class NoKernels final : public Kernels {
 public:
  void copy(Stream&, void*, const void*, uint64_t) override {}
  void zero(Stream&, void*, uint64_t) override {}
  void convert(Stream&, void*, esp_dtype, const void*, esp_dtype, uint64_t) override {}
  void axpby(Stream&, uint64_t, float, const float*, const void*, esp_dtype, float, const float*, void*,
             esp_dtype) override {}
  void sum_sq(Stream&, const void*, uint64_t, esp_dtype, float*) override {}
  void scalars(Stream&, std::span<const esp_sop>, std::span<float* const>) override {}
  void begin_update(Stream&, UpdateBlock*, const UpdateRules&, const UpdateInputs&) override {}
  void add_sum_sq(Stream&, std::span<const NormPiece>, double*) override {}
  void sum_partials(Stream&, UpdateBlock*) override {}
  void finish_norm(Stream&, UpdateBlock*, const UpdateRules&, bool) override {}
  void apply(Stream&, const UpdateBlock*, const UpdateRules&, std::span<const UpdateRange>, double*) override {}
  void end_update(Stream&, UpdateBlock*, const UpdateRules&, UpdateResult*) override {}
};

}  // namespace

CountingDevice::CountingDevice(int32_t kind)
    : kind_(kind), kernels_(std::make_unique<NoKernels>()), compute_(create_stream(ESP_STREAM_DEVICE, 0, "compute")) {}

CountingDevice::~CountingDevice() = default;

std::unique_ptr<Stream> CountingDevice::create_stream(uint32_t kind, int32_t /*priority*/, std::string name) {
  if (streams_ >= kMaxStreams) {
    throw Error(ExitCode::kResource, name + ": more than " + std::to_string(kMaxStreams) + " streams on one device");
  }
  return std::make_unique<CountedStream>(kind, streams_++, std::move(name));
}

std::unique_ptr<TimeMark> CountingDevice::mark(Stream&) { return std::make_unique<NoTime>(); }

}  // namespace esp::runtime
