// ddp_fp16: replicated data parallelism (kit/data_parallel.hpp) that computes in fp16 with fp32 masters unless another
// precision is asked for. Loss scaling is the host's; its options are this strategy's.

#include <espalier/kit/data_parallel.hpp>
#include <espalier/kit/loss_scaling.hpp>
#include <espalier/strategy.hpp>

namespace {

class DdpFp16 : public esp::kit::DataParallel {
 public:
  struct Options : esp::kit::LossScaling {
    esp::Bytes bucket_bytes;
    static auto schema() {
      return std::tuple_cat(esp::options(esp::kit::bucket_option<Options>()),
                            esp::kit::loss_scaling_options<Options>());
    }
  };

  DdpFp16(esp::Host& host, const Options& options)
      : DataParallel(host, {/*bucket_bytes=*/options.bucket_bytes, /*unless_asked=*/ESP_PRECISION_FP16}),
        scaling_(static_cast<const esp::kit::LossScaling&>(options)) {}

  esp_plan plan(const esp_view& view) {
    esp_plan plan = DataParallel::plan(view);
    scaling_.write_to(plan);
    return plan;
  }

 private:
  const esp::kit::LossScaling scaling_;
};

}  // namespace

ESP_PLUGIN("org.espalier.ddp_fp16", "1.0.0",
           esp::strategy<DdpFp16>("ddp_fp16", "replicas in fp16 with fp32 masters and dynamic loss scaling",
                                  ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                      ESP_CAP_INFER));
