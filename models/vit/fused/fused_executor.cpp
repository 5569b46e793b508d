#include "fused_executor.hpp"

#include <algorithm>

namespace esp::vit::fused {
namespace {

PixelMap pixel_map(const Setup& setup) {
  PixelMap map{};
  std::copy(setup.pixel_scale, setup.pixel_scale + 3, map.scale);
  std::copy(setup.pixel_shift, setup.pixel_shift + 3, map.shift);
  return map;
}

Half half_of(esp_dtype dtype) {
  if (dtype == ESP_BF16) return Half::kBf16;
  if (dtype == ESP_F16) return Half::kFp16;
  fail(ESP_E_UNSUPPORTED, "the fused executor computes in bf16 and fp16; use model.executor = \"reference\"");
}

}  // namespace

// Memory of the host, by tag.
class FusedExecutor::Memory {
 public:
  explicit Memory(const Setup& setup) : table_(*setup.memory), ctx_(setup.memory_ctx) {}
  ~Memory() {
    for (void* piece : pieces_) table_.free(ctx_, piece);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* take(uint64_t bytes, uint32_t tag) {
    void* piece = nullptr;
    call("esp.memory alloc", table_.alloc, ctx_, ESP_DEVICE, bytes, tag, 0u, &piece);
    pieces_.push_back(piece);
    return piece;
  }
  void give_back_last() {
    table_.free(ctx_, pieces_.back());
    pieces_.pop_back();
  }

 private:
  const esp_memory_v1& table_;
  void* ctx_;
  std::vector<void*> pieces_;
};

FusedExecutor::FusedExecutor(const Setup& setup)
    : shape_(setup.shape),
      pixels_(pixel_map(setup)),
      setup_(setup),
      blocks_(setup.blocks, setup.blocks + setup.shape.layers),
      parameters_(setup.n_params),
      gradients_(setup.n_params) {
  const std::string why = refusal(shape_);
  if (!why.empty()) fail(ESP_E_UNSUPPORTED, "the fused executor does not compute this model: ", why);
}

FusedExecutor::~FusedExecutor() {
  for (cudaEvent_t event : {ordered_, weights_done_[0], weights_done_[1], weights_done_[2]}) {
    if (event != nullptr) cudaEventDestroy(event);
  }
}

void FusedExecutor::prepare(const esp_model_run& run) {
  run_ = run;
  half_ = half_of(run.compute_t);
  if (run.grad_t != run.compute_t && run.grad_t != ESP_F32) {
    fail(ESP_E_UNSUPPORTED, "the fused executor writes gradients in the compute dtype or in fp32");
  }
  gradient_type_ = run.grad_t == ESP_F32 ? Sum::kFloat : Sum::kHalf;
  if (run.recompute >= kKeepLevels) fail(ESP_E_INVALID, "there is no recompute level ", run.recompute);
  keep_ = static_cast<Keep>(run.recompute);
  micro_rows_ = run.mode == ESP_MODE_TRAIN ? static_cast<int>(run.micro_rows) : 0;
  eval_rows_ = static_cast<int>(run.eval_rows);
  stream_ = reinterpret_cast<cudaStream_t>(run.compute);
  check(cudaSetDevice(setup_.device), "choosing the device");
  check(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, setup_.device), "asking for the device");
  for (cudaEvent_t* event : {&ordered_, &weights_done_[0], &weights_done_[1], &weights_done_[2]}) {
    check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
  }
  trainable_.assign(setup_.n_params, micro_rows_ != 0);
  for (uint32_t i = 0; i < setup_.n_params && run.trainable != nullptr; ++i) {
    trainable_[i] = trainable_[i] && run.trainable[i] != 0;
  }
  const auto any = [&](std::initializer_list<AffineIds> ids) {
    return std::any_of(ids.begin(), ids.end(), [&](const AffineIds& one) {
      return trainable_[one.weight] || (one.bias != kNoBias && trainable_[one.bias]);
    });
  };
  first_trainable_ = 0;
  if (!trainable_[setup_.cls] && !trainable_[setup_.position] && !any({setup_.projection})) {
    first_trainable_ = 1;
    for (const BlockParameters& ids : blocks_) {
      if (any({ids.norm1, ids.query, ids.key, ids.value, ids.attended, ids.norm2, ids.inner, ids.outer})) break;
      ++first_trainable_;
    }
    if (first_trainable_ == units() - 1 && !any({setup_.norm, setup_.classifier})) first_trainable_ = units();
  }
  prepare_attention(half_);
  matmuls_ = std::make_unique<Matmuls>(half_, setup_.device);
  plan_products();
  allocate(run);
}

void FusedExecutor::allocate(const esp_model_run& run) {
  const auto rows = static_cast<uint64_t>(micro_rows_), eval_rows = static_cast<uint64_t>(eval_rows_);
  Carver count_scratch, count_training, count_evaluation;
  scratch_ = carve_scratch(count_scratch, shape_, rows, eval_rows, keep_, processors_);
  if (rows != 0) carve_activations(count_training, shape_, rows, keep_, scratch_);
  const BlockSlots* lent = lent_to_evaluation(scratch_, rows, eval_rows, keep_);
  carve_evaluation(count_evaluation, shape_, eval_rows, lent);
  const uint64_t kept = std::max(count_training.used(), count_evaluation.used());
  memory_ = std::make_unique<Memory>(setup_);
  void* activations = memory_->take(kept, ESP_TAG_ACTIVATION);
  Carver scratch(memory_->take(count_scratch.used(), ESP_TAG_WORKSPACE));
  Carver training(activations), evaluation(activations);  // one at a time
  scratch_ = carve_scratch(scratch, shape_, rows, eval_rows, keep_, processors_);
  if (rows != 0) training_ = carve_activations(training, shape_, rows, keep_, scratch_);
  evaluation_ = carve_evaluation(evaluation, shape_, eval_rows, lent);

  const bool by_time = (run.flags & ESP_RUN_DETERMINISTIC) == 0;
  const uint64_t least = matmuls_->tuning_bytes();
  const bool borrowed = kept >= least;
  void* memory = borrowed ? activations : memory_->take(least, ESP_TAG_WORKSPACE);
  matmuls_->tune(memory, borrowed ? kept : least, by_time, stream_, {scratch_.matmul, matmul_bytes(keep_)});
  check(cudaStreamSynchronize(stream_), "timing products");
  if (!borrowed) memory_->give_back_last();
}

void FusedExecutor::plan_products() {
  if (micro_rows_ != 0) plan_forward(micro_rows_);
  if (eval_rows_ != 0) plan_forward(eval_rows_);
  if (micro_rows_ != 0) plan_backward(micro_rows_);
}

// Must name every product that forward and backward enqueue.
void FusedExecutor::plan_forward(int64_t images) {
  const int64_t c = shape_.hidden, inner = shape_.inner, m = images * tokens();
  const bool bias = shape_.qkv_bias != 0;
  const auto plan = [&](int64_t rows, int64_t n, int64_t k, bool with_bias, bool residual, int64_t x_stride = 0) {
    matmuls_->plan({Product::kForward, rows, n, k, x_stride, 0, with_bias, residual, Sum::kHalf});
  };
  plan(m, c, shape_.patch_values(), false, false);
  for (const int64_t rows : {m, images}) {
    plan(rows, c, c, true, true);
    plan(rows, inner, c, true, false);
    plan(rows, c, inner, true, true);
  }
  plan(m, 3 * c, c, bias, false);
  plan(m, 2 * c, c, bias, false);
  plan(images, c, c, bias, false, tokens() * c);
}

void FusedExecutor::plan_backward(int64_t images) {
  const int64_t c = shape_.hidden, inner = shape_.inner, m = images * tokens();
  const auto input = [&](int64_t rows, int64_t n, int64_t k, int64_t x_stride = 0) {
    matmuls_->plan({Product::kInput, rows, n, k, x_stride, 0, false, false, Sum::kHalf});
  };
  const auto weight = [&](int64_t rows, int64_t n, int64_t k, int64_t y_stride = 0, int64_t x_stride = 0) {
    matmuls_->plan({Product::kWeight, rows, n, k, x_stride, y_stride, false, false, gradient_type_});
  };
  for (const int64_t rows : {m, images}) {
    input(rows, c, inner);
    input(rows, inner, c);
    input(rows, c, c);
    weight(rows, c, inner);
    weight(rows, inner, c);
    weight(rows, c, c);
  }
  input(m, 3 * c, c);
  input(m, 2 * c, c);
  input(images, c, c, tokens() * c);
  weight(m, 3 * c, c);
  weight(m, c, c, 3 * c);
  weight(m, c, c, 2 * c);
  weight(images, c, c, 0, tokens() * c);
  weight(m, c, shape_.patch_values());
}

void FusedExecutor::bind(Slice<const esp_bind> binds) {
  for (const esp_bind& bind : binds) {
    if (bind.param >= setup_.n_params) fail(ESP_E_INVALID, "bind of parameter ", bind.param, ", which does not exist");
    if (bind.data != nullptr && bind.dtype != (bind.what == ESP_BIND_GRAD ? run_.grad_t : run_.compute_t)) {
      fail(ESP_E_INVALID, "parameter ", bind.param, " or its gradient is bound in another dtype than the run's");
    }
    if (reinterpret_cast<uintptr_t>(bind.data) % 16 != 0) {
      fail(ESP_E_INVALID, "parameter ", bind.param, " is bound at an address that is no multiple of 16");
    }
    if (bind.what == ESP_BIND_GRAD) {
      gradients_[bind.param] = Gradient{bind.data, bind.mode, true, 0};
    } else {
      parameters_[bind.param] = bind.data;
    }
  }
}

const void* FusedExecutor::parameter(uint32_t id) const {
  if (id == kNoBias) return nullptr;
  if (parameters_[id] == nullptr) fail(ESP_E_STATE, "parameter ", id, " is not bound while its unit runs");
  return parameters_[id];
}

bool FusedExecutor::adds(uint32_t id) {
  Gradient& gradient = gradients_[id];
  const bool first = gradient.fresh || (gradient.mode == ESP_WRITE_EACH_PASS && gradient.pass != pass_serial_);
  gradient.fresh = false;
  gradient.pass = pass_serial_;
  return !first;
}

void FusedExecutor::enter(const esp_step& step) {
  stream_ = reinterpret_cast<cudaStream_t>(step.compute);
  evaluating_ = (step.flags & ESP_STEP_EVAL) != 0;
  const bool aside = scratch_.weight_matmul != nullptr && !evaluating_;
  weight_stream_ = aside ? reinterpret_cast<cudaStream_t>(step.grads) : stream_;
}

void FusedExecutor::order(cudaStream_t earlier, cudaStream_t later) const {
  if (earlier == later) return;
  check(cudaEventRecord(ordered_, earlier), "recording an event");
  check(cudaStreamWaitEvent(later, ordered_), "waiting for an event");
}

void FusedExecutor::begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs) {
  enter(step);
  if (inputs.size() != 3) fail(ESP_E_INVALID, "got ", inputs.size(), " inputs instead of pixels, flip and label");
  for (const esp_tensor* input : inputs) {
    if (input->shape[0] != rows()) {
      fail(ESP_E_INVALID, "a batch has ", input->shape[0], " rows, the run says ", rows());
    }
  }
  inputs_ = {static_cast<const uint8_t*>(inputs[0]->data), static_cast<const uint8_t*>(inputs[1]->data),
             static_cast<const int64_t*>(inputs[2]->data)};
  if (evaluating_) return;
  if (in_flight_ && *in_flight_ != step.micro) {
    fail(ESP_E_UNSUPPORTED, "the fused executor holds one micro-batch at a time; use model.executor = \"reference\"");
  }
  in_flight_ = step.micro;
  if (step.pos == 0 || step.index != index_ || step.pass != pass_) {
    ++pass_serial_;
    index_ = step.index;
    pass_ = step.pass;
  }
}

void FusedExecutor::loss(const esp_step& step) {
  enter(step);
  const HeadSlots& head = activations().head;
  Loss loss{};
  loss.rows = rows();
  loss.classes = shape_.classes;
  loss.logits = head.logits;
  loss.labels = inputs_.labels;
  loss.valid = run_.valid + (evaluating_ ? 0 : step.micro);
  loss.seed = run_.loss_seed;
  loss.dlogits = evaluating_ ? nullptr : head.dlogits;
  loss.loss_sum = step.pass == 0 ? run_.loss_sum : nullptr;
  loss.correct = reinterpret_cast<unsigned long long*>(run_.correct);
  loss.predicted = evaluating_ ? run_.predicted : nullptr;
  cross_entropy(launch(), loss);
}

bool FusedExecutor::contiguous(uint32_t first, uint32_t second, uint32_t third, uint64_t elements) const {
  const auto at = [&](uint32_t id) { return static_cast<const char*>(parameter(id)); };
  return at(second) == at(first) + elements * 2 && at(third) == at(second) + elements * 2;
}

// In place where the strategy's layout put the three side by side, else a copy that lasts until the next one.
FusedExecutor::Packed FusedExecutor::packed(const BlockParameters& ids) {
  const auto c = static_cast<uint64_t>(shape_.hidden);
  const bool bias = shape_.qkv_bias != 0;
  char* weight = static_cast<char*>(scratch_.packed);
  Packed packed{weight, bias ? weight + 3 * c * c * 2 : nullptr};
  CopyTask copy{};
  const auto gather = [&](uint32_t q, uint32_t k, uint32_t v, uint64_t elements, const char* to) {
    if (contiguous(q, k, v, elements)) return static_cast<const char*>(parameter(q));
    for (const uint32_t id : {q, k, v}) {
      copy.src[copy.n] = parameter(id);
      copy.dst[copy.n] = const_cast<char*>(to) + static_cast<uint64_t>(copy.n % 3) * elements * 2;
      copy.elements[copy.n++] = static_cast<int64_t>(elements);
    }
    return to;
  };
  packed.weight = gather(ids.query.weight, ids.key.weight, ids.value.weight, c * c, packed.weight);
  if (bias) packed.bias = gather(ids.query.bias, ids.key.bias, ids.value.bias, c, packed.bias);
  copy_halves(launch(), copy);
  return packed;
}

void FusedExecutor::product(Product product, int64_t m, int64_t n, int64_t k, const MatmulOperands& operands,
                            int64_t x_stride, int64_t y_stride) {
  const Sum result = product == Product::kWeight ? gradient_type_ : Sum::kHalf;
  const MatmulShape shape{product, m, n, k, x_stride, y_stride, operands.bias != nullptr, operands.residual != nullptr,
                          result};
  const bool aside = product == Product::kWeight && weight_stream_ != stream_;
  matmuls_->run(shape, operands, aside ? weight_stream_ : stream_,
                {aside ? scratch_.weight_matmul : scratch_.matmul, matmul_bytes(keep_)});
}

void FusedExecutor::weight_gradient(uint32_t id, int64_t m, int64_t n, int64_t k, const void* dy, const void* x,
                                    int64_t y_stride, int64_t x_stride) {
  if (!wants(id)) return;
  MatmulOperands operands;
  operands.x = x;
  operands.y = dy;
  operands.weight = gradients_[id].data;
  operands.add = adds(id);
  product(Product::kWeight, m, n, k, operands, x_stride, y_stride);
}

// One product where the three gradients stand side by side and are all written alike.
void FusedExecutor::qkv_gradient(const BlockParameters& ids, const void* dqkv, const void* x) {
  const int64_t c = shape_.hidden;
  const uint32_t all[3] = {ids.query.weight, ids.key.weight, ids.value.weight};
  const char* first = static_cast<const char*>(gradients_[all[0]].data);
  const int64_t bytes = c * c * (gradient_type_ == Sum::kFloat ? 4 : 2);
  bool together = true;
  for (int i = 0; i < 3; ++i) {
    const Gradient& gradient = gradients_[all[i]];
    const Gradient& other = gradients_[all[0]];
    together = together && wants(all[i]) && gradient.data == first + i * bytes && gradient.mode == other.mode &&
               gradient.fresh == other.fresh && gradient.pass == other.pass;
  }
  if (together) {
    adds(all[1]);
    adds(all[2]);
    weight_gradient(all[0], all_rows(), 3 * c, c, dqkv, x);
    return;
  }
  for (int i = 0; i < 3; ++i) {
    weight_gradient(all[i], all_rows(), c, c, static_cast<const char*>(dqkv) + i * c * 2, x, 3 * c);
  }
}

void FusedExecutor::sum(uint32_t id, const float* src, int sum_rows, int stride, int width) {
  if (!wants(id)) return;
  sums_[n_sums_++] = {src, gradients_[id].data, sum_rows, stride, width, gradient_type_, adds(id)};
}

void FusedExecutor::flush_sums() {
  sum_columns(weight_launch(), sums_, n_sums_);
  n_sums_ = 0;
}

}  // namespace esp::vit::fused
