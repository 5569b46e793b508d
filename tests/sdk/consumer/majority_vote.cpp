// signSGD with majority vote: each rank sends the sign of its gradient plus what rounding lost before; every rank takes
// the sign that most ranks sent, times a scale. One byte an element on the wire.
#include <espalier/kit/replica.hpp>
#include <vector>

namespace {

struct Vote {
  float* gradient;
  float* lost;
  int8_t* sent;
  const int8_t* received;
  uint64_t n;
  int32_t ranks;
  float scale;
};

void encode(void* argument) {
  const Vote& vote = *static_cast<const Vote*>(argument);
  for (uint64_t i = 0; i < vote.n; ++i) {
    const float wanted = vote.gradient[i] + vote.lost[i];
    vote.sent[i] = static_cast<int8_t>(wanted > 0 ? 1 : wanted < 0 ? -1 : 0);
    vote.lost[i] = wanted - vote.scale * static_cast<float>(vote.sent[i]);
  }
}

void decode(void* argument) {
  const Vote& vote = *static_cast<const Vote*>(argument);
  for (uint64_t i = 0; i < vote.n; ++i) {
    int sum = 0;
    for (int32_t rank = 0; rank < vote.ranks; ++rank) sum += vote.received[static_cast<uint64_t>(rank) * vote.n + i];
    vote.gradient[i] = vote.scale * static_cast<float>(sum > 0 ? 1 : sum < 0 ? -1 : 0);
  }
}

}  // namespace

// With a mistake, for a test of the tests: encoding on a stream that nobody ordered behind the gradients.
#if defined(PLANT_MISTAKE)
#define MISTAKE_STREAM other_
#else
#define MISTAKE_STREAM stream()
#endif

class MajorityVote : public esp::kit::Replica {
 public:
  struct Options {
    double scale = 1e-2;
    static auto schema() {
      return esp::options(
          esp::option("scale", &Options::scale).range(1e-6, 1).doc("of a vote, as a gradient").sweepable());
    }
  };

  MajorityVote(const esp::Host& host, const Options& options)
      : Replica(host, {1 << 20, ESP_PRECISION_FP32}), scale_(static_cast<float>(options.scale)) {}

  esp_plan plan(const esp_view& view) {
    const esp_plan plan = Replica::plan(view);
    if (plan.grad_t != ESP_F32)
      esp::fail(ESP_E_UNSUPPORTED, "majority-vote takes fp32; set train.precision = \"fp32\"");
    return plan;
  }

  void prepare(const esp_view& view, const esp::Binder& binder) {
    Replica::prepare(view, binder);
    for (const esp::kit::Block& block : blocks()) {
      lost_.push_back(host().memory.device(block.size() * sizeof(float), ESP_TAG_OTHER));
      sent_.push_back(host().memory.device(block.size(), ESP_TAG_BUCKET, ESP_MEM_COMM));
      received_.push_back(host().memory.device(block.size() * group().size, ESP_TAG_BUCKET, ESP_MEM_COMM));
    }
  }

  void post_backward(const esp_step& step, uint32_t) {
    const esp::kit::Block* block = finished(step);
    if (block == nullptr) return;
    vote(*block);
    add_to_norm(*block);
    if (!update_waits_for_norm()) update(*block);
  }

  void end_pass(const esp_step&) {
    finish_norm();
    if (update_waits_for_norm()) update_all();
  }

 private:
  void vote(const esp::kit::Block& block) {
    const Vote vote{static_cast<float*>(gradients(block)),
                    static_cast<float*>(lost_[block.index].data()),
                    static_cast<int8_t*>(sent_[block.index].data()),
                    static_cast<int8_t*>(received_[block.index].data()),
                    block.size(),
                    group().size,
                    scale_};
    host().device.run(MISTAKE_STREAM, &encode, vote);
    host().comm.all_gather(group(), vote.sent, received_[block.index].data(), block.size(), ESP_U8, stream());
    host().device.run(stream(), &decode, vote);
  }

  const float scale_;
#if defined(PLANT_MISTAKE)
  const esp_stream other_ = host().device.new_stream();
#endif
  std::vector<esp::Buffer> lost_, sent_, received_;  // [blocks]
};

ESP_PLUGIN("org.example.majority_vote", "0.1.0",
           esp::strategy<MajorityVote>("majority-vote", "signs of gradients, by majority, with error feedback",
                                       ESP_CAP_CPU | ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC | ESP_CAP_INFER));
