// Data parallelism that sends gradients as bytes: a quarter of fp32's traffic. What rounding loses is kept and added to
// the next step's gradient. Runs on CPUs, and on GPUs where it was built with CUDA.
#include <espalier/kit/replica.hpp>
#include <espalier/strategy.hpp>
#include <vector>

#include "int8_codec.hpp"

class Int8Ddp : public esp::kit::Replica {
 public:
  struct Options {
    esp::Bytes bucket_bytes{1 << 20};
    static auto schema() {
      return esp::options(esp::option("bucket_bytes", &Options::bucket_bytes)
                              .doc("gradients of neighbouring units are sent together up to this size")
                              .sweepable());
    }
  };

  Int8Ddp(const esp::Host& host, const Options& options) : Replica(host, {options.bucket_bytes, ESP_PRECISION_FP32}) {}

  esp_plan plan(const esp_view& view) {
    const esp_plan plan = Replica::plan(view);
    if (plan.grad_t != ESP_F32) esp::fail(ESP_E_UNSUPPORTED, "int8-ddp sends gradients of fp32 only");
    return plan;
  }

  void prepare(const esp_view& view, const esp::Binder& binder) {
    Replica::prepare(view, binder);
    for (const esp::kit::Block& block : blocks()) {
      const uint64_t bytes = groups_of(block.size()) * kGroupBytes;
      lost_.push_back(host().memory.device(block.size() * sizeof(float), ESP_TAG_OTHER));
      sent_.push_back(host().memory.device(bytes, ESP_TAG_BUCKET, ESP_MEM_COMM));
      received_.push_back(host().memory.device(bytes * group().size, ESP_TAG_BUCKET, ESP_MEM_COMM));
    }
  }

  void post_backward(const esp_step& step, uint32_t) {
    const esp::kit::Block* block = finished(step);
    if (block == nullptr) return;
    average(*block);
    add_to_norm(*block);
    if (!update_waits_for_norm()) update(*block);
  }

  void end_pass(const esp_step&) {
    finish_norm();
    if (update_waits_for_norm()) update_all();
  }

 private:
  // One rank rounds, too: so that what one rank learns is what many would.
  void average(const esp::kit::Block& block) {
    auto* gradient = static_cast<float*>(gradients(block));
    auto* sent = static_cast<uint8_t*>(sent_[block.index].data());
    auto* received = static_cast<uint8_t*>(received_[block.index].data());
    run(Encode{gradient, static_cast<float*>(lost_[block.index].data()), sent, block.size()});
    host().comm.all_gather(group(), sent, received, sent_[block.index].bytes(), ESP_U8, stream());
    run(Decode{received, gradient, block.size(), group().size});
  }

  // A CPU stream runs functions; a stream of a GPU runs kernels that are launched on it.
  void run(const Encode& job) {
#if defined(INT8_DDP_CUDA)
    if (host().run().device_kind == ESP_CUDA) return encode_on_gpu(job, stream());
#endif
    host().device.run(stream(), &all_groups<Encode, encode_group>, job);
  }
  void run(const Decode& job) {
#if defined(INT8_DDP_CUDA)
    if (host().run().device_kind == ESP_CUDA) return decode_on_gpu(job, stream());
#endif
    host().device.run(stream(), &all_groups<Decode, decode_group>, job);
  }

  template <class Job, void (*Run)(const Job&, uint64_t)>
  static void all_groups(void* argument) {
    const Job& job = *static_cast<const Job*>(argument);
    for (uint64_t group = 0; group < groups_of(job.n); ++group) Run(job, group);
  }

  std::vector<esp::Buffer> lost_, sent_, received_;  // [blocks]
};

#if defined(INT8_DDP_CUDA)
constexpr uint64_t kDevices = ESP_CAP_CPU | ESP_CAP_CUDA;
#else
constexpr uint64_t kDevices = ESP_CAP_CPU;
#endif

ESP_PLUGIN("org.espalier.examples.int8ddp", "1.0.0",
           esp::strategy<Int8Ddp>("int8-ddp", "replicas, gradients sent as bytes with error feedback",
                                  kDevices | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC | ESP_CAP_INFER));
