// ddp: replicated data parallelism, see kit/data_parallel.hpp.

#include <espalier/kit/data_parallel.hpp>
#include <espalier/strategy.hpp>

namespace {

class Ddp : public esp::kit::DataParallel {
 public:
  struct Options {
    esp::Bytes bucket_bytes;
    static auto schema() { return esp::options(esp::kit::bucket_option<Options>()); }
  };

  Ddp(esp::Host& host, const Options& options) : DataParallel(host, {/*bucket_bytes=*/options.bucket_bytes}) {}
};

}  // namespace

ESP_PLUGIN("org.espalier.ddp", "1.0.0",
           esp::strategy<Ddp>("ddp", "replicas; gradients are averaged while backward runs",
                              ESP_CAP_CPU | ESP_CAP_CUDA | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC |
                                  ESP_CAP_INFER));
