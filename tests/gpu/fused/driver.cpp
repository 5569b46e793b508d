#include "driver.hpp"

#include <algorithm>
#include <cstring>

namespace esp::vit::fused::test {
namespace {

uint16_t bits_of(float x, esp_dtype dtype) {
  uint16_t bits = 0;
  if (dtype == ESP_BF16) {
    const __nv_bfloat16 value = __float2bfloat16(x);
    std::memcpy(&bits, &value, 2);
  } else {
    const __half value = __float2half(x);
    std::memcpy(&bits, &value, 2);
  }
  return bits;
}

float value_of(uint16_t bits, esp_dtype dtype) {
  if (dtype == ESP_BF16) {
    __nv_bfloat16 value;
    std::memcpy(static_cast<void*>(&value), &bits, 2);
    return __bfloat162float(value);
  }
  __half value;
  std::memcpy(static_cast<void*>(&value), &bits, 2);
  return __half2float(value);
}

}  // namespace

const FusedTable& load_library(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::printf("cannot load %s: %s\n", path.c_str(), dlerror());
    std::exit(3);
  }
  const auto entry = reinterpret_cast<const FusedTable* (*)()>(dlsym(library, ESPALIER_VIT_FUSED_SYMBOL));
  if (entry == nullptr || entry()->size != sizeof(FusedTable)) {
    std::printf("%s has no table of the size that is expected\n", path.c_str());
    std::exit(3);
  }
  return *entry();
}

Content make_content(const Job& job, const ViTParameters& parameters) {
  Content content;
  for (size_t i = 0; i < parameters.all().size(); ++i) {
    const ViTParameter& parameter = parameters.all()[i];
    Random random(job.seed * 1000 + i);
    const bool matrix = parameter.shape.size() > 1 && parameter.name.find("embeddings") == std::string::npos;
    const float scale = matrix ? 0.04f : parameter.start == Start::kOnes ? 0.1f : 0.05f;
    std::vector<float> values(parameter.numel());
    for (float& x : values) {
      x = random.normal() * scale + (parameter.start == Start::kOnes ? 1.0f : 0.0f);
      x = value_of(bits_of(x, job.compute), job.compute);
    }
    content.parameters.push_back(std::move(values));
  }
  Random random(job.seed * 7919 + 5);
  const size_t side = static_cast<size_t>(job.config.image_size);
  content.pixels.resize(job.rows * side * side * 3);
  for (uint8_t& p : content.pixels) p = static_cast<uint8_t>(random.next() >> 11);
  for (uint32_t i = 0; i < job.rows; ++i) {
    content.flip.push_back(random.next() & 1);
    content.labels.push_back(static_cast<int64_t>(random.next() % static_cast<uint64_t>(job.config.num_labels())));
    // A tint and a pattern of its own for every image: pure noise would look alike to the model.
    uint8_t* image = content.pixels.data() + i * side * side * 3;
    const unsigned tint[3] = {static_cast<unsigned>(random.next() & 127), static_cast<unsigned>(random.next() & 127),
                              static_cast<unsigned>(random.next() & 127)};
    const unsigned period = 3 + static_cast<unsigned>(random.next() % 40);
    for (size_t p = 0; p < side * side * 3; ++p) {
      image[p] =
          static_cast<uint8_t>(image[p] / 4 + tint[p % 3] / 2 + ((p / 3 % side) % period < period / 2 ? 100 : 0));
    }
  }
  return content;
}

Driver::Driver(const Job& job, const FusedTable& table)
    : job_(job), table_(table), parameters_(job.config), content_(make_content(job, parameters_)) {
  // Priorities as the host has them.
  cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, -2), "stream");
  grads_ = stream_;
  if (job.aside) cuda(cudaStreamCreateWithPriority(&grads_, cudaStreamNonBlocking, -1), "stream");
  cuda(cudaEventCreateWithFlags(&ordered_, cudaEventDisableTiming), "event");
  pixels_ = std::make_unique<DeviceArray<uint8_t>>(content_.pixels);
  flip_ = std::make_unique<DeviceArray<uint8_t>>(content_.flip);
  labels_ = std::make_unique<DeviceArray<int64_t>>(content_.labels);
  seed_ = std::make_unique<DeviceArray<float>>(
      std::vector<float>{job.loss_seed != 0 ? job.loss_seed : 1.0f / static_cast<float>(job.rows)});
  valid_ = std::make_unique<DeviceArray<uint32_t>>(std::vector<uint32_t>(job.n_micro, job.rows));
  loss_ = std::make_unique<DeviceArray<double>>(std::vector<double>{0});
  correct_ = std::make_unique<DeviceArray<uint64_t>>(std::vector<uint64_t>{0});
  predicted_ = std::make_unique<DeviceArray<int32_t>>(job.eval_rows);

  std::vector<BlockParameters> blocks;
  PixelScaling scaling;
  scaling.mean = {0.485, 0.456, 0.406};
  scaling.std = {0.229, 0.224, 0.225};
  Setup setup = make_setup(job.config, parameters_, scaling, blocks);
  setup.memory = &host_.memory();
  setup.memory_ctx = &host_;
  call("create", table_.create, static_cast<const Setup*>(&setup), &self_);
  esp_model_run run{};
  run.struct_size = sizeof run;
  run.mode = ESP_MODE_TRAIN;
  run.micro_rows = job.rows;
  run.eval_rows = job.eval_rows;
  run.n_micro = job.n_micro;
  run.recompute = static_cast<uint32_t>(job.keep);
  run.precision = job.compute == ESP_BF16 ? ESP_PRECISION_BF16 : ESP_PRECISION_FP16;
  run.compute_t = job.compute;
  run.grad_t = job.gradients;
  run.compute = reinterpret_cast<esp_stream>(stream_);
  run.loss_seed = seed_->get();
  run.valid = valid_->get();
  run.loss_sum = loss_->get();
  run.correct = correct_->get();
  run.predicted = predicted_->get();
  ask("prepare", table_.prepare, static_cast<const esp_model_run*>(&run));
  lay_out();
}

Driver::~Driver() {
  cudaDeviceSynchronize();
  if (self_ != nullptr) table_.destroy(self_);
  if (grads_ != stream_) cudaStreamDestroy(grads_);
  cudaStreamDestroy(stream_);
  cudaEventDestroy(ordered_);
}

void Driver::lay_out() {
  const size_t n = parameters_.all().size();
  offsets_.assign(n, 0);
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < n; ++i) order.push_back(i);
  if (!job_.side_by_side) {  // a bias behind each weight, as strategies may lay them out
    for (size_t layer = 0; layer < static_cast<size_t>(job_.config.num_hidden_layers); ++layer) {
      const BlockIds& ids = parameters_.block(static_cast<uint32_t>(layer));
      const uint32_t first = ids.query.weight;
      const uint32_t wanted[6] = {ids.query.weight, ids.query.bias,   ids.key.weight,
                                  ids.key.bias,     ids.value.weight, ids.value.bias};
      std::copy(wanted, wanted + 6, order.begin() + first);
    }
  }
  for (const uint32_t id : order) {
    offsets_[id] = elements_;
    elements_ += (parameters_.all()[id].numel() + 127) / 128 * 128;
  }
  std::vector<uint16_t> bits(elements_);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < content_.parameters[i].size(); ++j) {
      bits[offsets_[i] + j] = bits_of(content_.parameters[i][j], job_.compute);
    }
  }
  weights_ = std::make_unique<DeviceArray<uint16_t>>(bits);
  const size_t of_gradient = ESP_DTYPE_BYTES(job_.gradients);
  gradients_ = std::make_unique<DeviceArray<char>>(elements_ * of_gradient);
  std::vector<esp_bind> binds;
  for (uint32_t i = 0; i < n; ++i) {
    binds.push_back({i, ESP_BIND_PARAM, weights_->get() + offsets_[i], job_.compute, 0});
    binds.push_back(
        {i, ESP_BIND_GRAD, gradients_->get() + offsets_[i] * of_gradient, job_.gradients, ESP_WRITE_EACH_PASS});
  }
  ask("bind", table_.bind, static_cast<const esp_bind*>(binds.data()), static_cast<uint32_t>(binds.size()));
}

void Driver::set_valid(const std::vector<uint32_t>& valid) {
  cuda(cudaMemcpy(valid_->get(), valid.data(), valid.size() * 4, cudaMemcpyHostToDevice), "valid");
}
void Driver::set_pixels(const std::vector<uint8_t>& pixels) {
  cuda(cudaMemcpy(pixels_->get(), pixels.data(), pixels.size(), cudaMemcpyHostToDevice), "pixels");
}
void Driver::poison_gradients() { cuda(cudaMemset(gradients_->get(), 0xff, gradients_->size()), "poison"); }
void Driver::sync() { cuda(cudaStreamSynchronize(stream_), "step"); }

void Driver::order(cudaStream_t earlier, cudaStream_t later) {
  if (earlier == later) return;
  cuda(cudaEventRecord(ordered_, earlier), "record");
  cuda(cudaStreamWaitEvent(later, ordered_), "wait");
}

void Driver::pass(uint64_t index, uint32_t flags) {
  order(stream_, grads_);
  enqueue(index, flags);
  order(grads_, stream_);
}

void Driver::enqueue(uint64_t index, uint32_t flags) {
  const bool evaluation = (flags & ESP_STEP_EVAL) != 0;
  const int64_t rows = evaluation ? job_.eval_rows : job_.rows, side = job_.config.image_size;
  const int64_t shapes[4] = {rows, side, side, 3};
  const esp_tensor pixels{pixels_->get(), shapes, ESP_U8, 4}, flip{flip_->get(), shapes, ESP_U8, 1},
      labels{labels_->get(), shapes, ESP_I64, 1};
  const esp_tensor* inputs[3] = {&pixels, &flip, &labels};
  esp_step step{};
  step.struct_size = sizeof step;
  step.flags = flags;
  step.index = index;
  step.compute = reinterpret_cast<esp_stream>(stream_);
  step.grads = reinterpret_cast<esp_stream>(grads_);
  const uint32_t units = parameters_.n_units();
  for (uint32_t micro = 0; micro < (evaluation ? 1 : job_.n_micro); ++micro) {
    step.micro = micro;
    ask("begin_micro", table_.begin_micro, static_cast<const esp_step*>(&step),
        static_cast<const esp_tensor* const*>(inputs), 3u);
    for (uint32_t unit = 0; unit < units; ++unit, ++step.pos) {
      ask("forward_unit", table_.forward_unit, static_cast<const esp_step*>(&step), unit);
    }
    ask("loss", table_.loss, static_cast<const esp_step*>(&step));
    if (evaluation) return;
    for (uint32_t unit = units; unit-- > 0; ++step.pos) {
      ask("backward_unit", table_.backward_unit, static_cast<const esp_step*>(&step), unit);
    }
  }
}

void Driver::step(uint64_t index) { pass(index, 0); }

std::vector<int32_t> Driver::evaluate(uint32_t valid) {
  set_valid({valid});
  pass(0, ESP_STEP_EVAL);
  sync();
  set_valid(std::vector<uint32_t>(job_.n_micro, job_.rows));
  return predicted_->host();
}

double Driver::replay(int repeats) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replayed = nullptr;
  cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "begin capture");
  pass(1000, ESP_STEP_CAPTURING);
  cuda(cudaStreamEndCapture(stream_, &graph), "end capture");
  cuda(cudaGraphInstantiate(&replayed, graph, cudaGraphInstantiateFlagUseNodePriority), "instantiate");
  cudaEvent_t begin = nullptr, end = nullptr;
  cuda(cudaEventCreate(&begin), "event");
  cuda(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < repeats + 5; ++i) {
    cuda(cudaEventRecord(begin, stream_), "record");
    cuda(cudaGraphLaunch(replayed, stream_), "replay");
    cuda(cudaEventRecord(end, stream_), "record");
    cuda(cudaEventSynchronize(end), "replay");
    float ms = 0;
    cuda(cudaEventElapsedTime(&ms, begin, end), "elapsed");
    if (i >= 5) times.push_back(ms);
  }
  cudaGraphExecDestroy(replayed);
  cudaGraphDestroy(graph);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  if (times.empty()) return 0;
  std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

std::vector<std::vector<float>> Driver::gradients() {
  sync();
  const std::vector<char> bytes = gradients_->host();
  std::vector<std::vector<float>> out;
  for (size_t i = 0; i < parameters_.all().size(); ++i) {
    std::vector<float> values(parameters_.all()[i].numel());
    for (size_t j = 0; j < values.size(); ++j) {
      if (job_.gradients == ESP_F32) {
        std::memcpy(&values[j], bytes.data() + (offsets_[i] + j) * 4, 4);
      } else {
        uint16_t bits = 0;
        std::memcpy(&bits, bytes.data() + (offsets_[i] + j) * 2, 2);
        values[j] = value_of(bits, job_.gradients);
      }
    }
    out.push_back(std::move(values));
  }
  return out;
}

double Driver::loss_sum() { return loss_->host()[0]; }
uint64_t Driver::correct() { return correct_->host()[0]; }
void Driver::clear_metrics() {
  cuda(cudaMemset(loss_->get(), 0, 8), "metrics");
  cuda(cudaMemset(correct_->get(), 0, 8), "metrics");
}

Distance distance(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& wanted) {
  Distance result;
  double all = 0, norm = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    double of_one = 0, its_norm = 0;
    for (size_t j = 0; j < wanted[i].size(); ++j) {
      const double d = static_cast<double>(got[i][j]) - wanted[i][j];
      of_one += d * d;
      its_norm += static_cast<double>(wanted[i][j]) * wanted[i][j];
      if (std::memcmp(&got[i][j], &wanted[i][j], 4) != 0) result.same_bits = false;
    }
    all += of_one;
    norm += its_norm;
    const double relative = its_norm == 0 ? (of_one == 0 ? 0 : 1e9) : std::sqrt(of_one / its_norm);
    if (!(relative <= result.worst)) {
      result.worst = relative;
      result.worst_at = i;
    }
  }
  result.whole = std::sqrt(all / norm);
  return result;
}

}  // namespace esp::vit::fused::test
