#include "matmul.hpp"

#include <algorithm>
#include <espalier/failure.hpp>
#include <random>
#include <tuple>

#include "algorithm_file.hpp"

namespace esp::vit::fused {
namespace {

constexpr int kCandidates = 32;
constexpr int kRounds = 5;
constexpr float kRoundMs = 0.4f;  // of one candidate in one round, about

void check_lt(cublasStatus_t status, const std::string& what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail(ESP_E_DEVICE, "cuBLASLt, ", what, ": ", cublasLtGetStatusName(status));
  }
}

cudaDataType_t data_type(Half half) { return half == Half::kBf16 ? CUDA_R_16BF : CUDA_R_16F; }

struct Event {
  cudaEvent_t event = nullptr;
  Event() { check(cudaEventCreate(&event), "creating an event"); }
  ~Event() { cudaEventDestroy(event); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

}  // namespace

std::string MatmulShape::text() const {
  return std::to_string(static_cast<int>(product)) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" +
         std::to_string(k) + " " + std::to_string(x_stride) + " " + std::to_string(y_stride) + (bias ? " bias" : "") +
         (residual ? " residual" : "") + (result == Sum::kFloat ? " fp32" : "");
}

bool MatmulShape::operator<(const MatmulShape& other) const {
  const auto fields = [](const MatmulShape& of) {
    return std::tie(of.product, of.m, of.n, of.k, of.x_stride, of.y_stride, of.bias, of.residual, of.result);
  };
  return fields(*this) < fields(other);
}

// cuBLASLt is column-major: a row-major matrix is its own transpose there.
class Matmul {
 public:
  Matmul(const MatmulShape& shape, Half half) : shape_(shape) {
    const int64_t x_stride = shape.x_stride != 0 ? shape.x_stride : shape.k;
    const int64_t y_stride = shape.y_stride != 0 ? shape.y_stride : shape.n;
    const cudaDataType_t type = data_type(half);
    const cublasOperation_t t = CUBLAS_OP_T;
    check_lt(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    if (shape.product == Product::kForward) {
      set(CUBLASLT_MATMUL_DESC_TRANSA, t);
      layout(&a, type, shape.k, shape.n, shape.k);
      layout(&b, type, shape.k, shape.m, x_stride);
      layout(&d, type, shape.n, shape.m, y_stride);
    } else if (shape.product == Product::kInput) {
      layout(&a, type, shape.k, shape.n, shape.k);
      layout(&b, type, shape.n, shape.m, y_stride);
      layout(&d, type, shape.k, shape.m, x_stride);
    } else {
      set(CUBLASLT_MATMUL_DESC_TRANSB, t);
      layout(&a, type, shape.k, shape.m, x_stride);
      layout(&b, type, shape.n, shape.m, y_stride);
      layout(&d, shape.result == Sum::kFloat ? CUDA_R_32F : type, shape.k, shape.n, shape.k);
    }
    if (shape.bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
    }
  }
  ~Matmul() {
    cublasLtMatrixLayoutDestroy(a);
    cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(d);
    cublasLtMatmulDescDestroy(desc);
  }
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  const MatmulShape& shape() const { return shape_; }

  size_t x_bytes() const { return rounded(shape_.m * (shape_.x_stride != 0 ? shape_.x_stride : shape_.k) * 2); }
  size_t y_bytes() const { return rounded(shape_.m * (shape_.y_stride != 0 ? shape_.y_stride : shape_.n) * 2); }
  size_t weight_bytes() const { return rounded(shape_.n * shape_.k * 4); }

  template <class V>
  void set(cublasLtMatmulDescAttributes_t attribute, V value) const {
    check_lt(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value), "an attribute");
  }

  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool chosen = false;

 private:
  static size_t rounded(int64_t bytes) { return (static_cast<size_t>(bytes) + 255) / 256 * 256; }
  static void layout(cublasLtMatrixLayout_t* out, cudaDataType_t type, int64_t rows, int64_t columns, int64_t stride) {
    check_lt(cublasLtMatrixLayoutCreate(out, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), stride),
             "a layout");
  }

  const MatmulShape shape_;
};

Matmuls::Matmuls(Half half, int device) : half_(half) {
  check_lt(cublasLtCreate(&handle_), "its start");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "asking for the device");
  machine_ = std::string(properties.name) + " cublasLt " + std::to_string(cublasLtGetVersion()) +
             (half == Half::kBf16 ? " bf16 " : " fp16 ");
}

Matmuls::~Matmuls() {
  plans_.clear();
  cublasLtDestroy(handle_);
}

void Matmuls::plan(const MatmulShape& shape) {
  std::unique_ptr<Matmul>& slot = plans_[shape];
  if (slot == nullptr) slot = std::make_unique<Matmul>(shape, half_);
}

void Matmuls::run(const MatmulShape& shape, const MatmulOperands& operands, cudaStream_t stream,
                  Workspace workspace) const {
  const auto at = plans_.find(shape);
  if (at == plans_.end() || !at->second->chosen) fail(ESP_E_INTERNAL, "product ", shape.text(), " was not planned");
  run(*at->second, operands, stream, workspace);
}

size_t Matmuls::tuning_bytes() const {
  size_t most = 0;
  for (const auto& [shape, plan] : plans_) {
    most = std::max(most, plan->x_bytes() + 2 * plan->y_bytes() + plan->weight_bytes());
  }
  return most;
}

// Operands of random bits behind a fixed exponent: a GPU draws less power on zeros and clocks higher, which would
// favour other algorithms than those of real numbers.
static void fill(void* memory, size_t bytes, Half half, cudaStream_t stream) {
  constexpr size_t kStart = 1 << 20;
  std::vector<uint16_t> start(std::min(bytes, kStart) / 2);
  const unsigned exponent = half == Half::kBf16 ? 0x3f00u : 0x3800u;  // [0.5, 1)
  const unsigned mantissa = half == Half::kBf16 ? 0x7fu : 0x3ffu;
  std::minstd_rand random(1);
  for (uint16_t& value : start) {
    const auto bits = static_cast<unsigned>(random()) >> 8;
    value = static_cast<uint16_t>((bits & 0x8000u) | exponent | (bits & mantissa));
  }
  size_t done = start.size() * 2;
  check(cudaMemcpyAsync(memory, start.data(), done, cudaMemcpyHostToDevice, stream), "filling operands");
  check(cudaStreamSynchronize(stream), "filling operands");
  while (done < bytes) {
    const size_t more = std::min(done, bytes - done);
    check(cudaMemcpyAsync(static_cast<char*>(memory) + done, memory, more, cudaMemcpyDeviceToDevice, stream),
          "filling operands");
    done += more;
  }
}

void Matmuls::tune(void* memory, bool by_time, cudaStream_t stream, Workspace workspace) {
  AlgorithmFile file;
  bool filled = false;
  for (const auto& [shape, plan] : plans_) {
    if (plan->chosen) continue;
    const std::string key = shape.text() + " with " + std::to_string(workspace.bytes >> 20) + " MiB";
    const auto known = by_time ? file.find(machine_ + key) : std::nullopt;
    cublasLtMatmulHeuristicResult_t result{};
    if (known &&
        cublasLtMatmulAlgoCheck(handle_, plan->desc, plan->a, plan->b, plan->d, plan->d, &known->algorithm, &result) ==
            CUBLAS_STATUS_SUCCESS &&
        result.workspaceSize <= workspace.bytes) {
      plan->algorithm = known->algorithm;
      plan->chosen = true;
      continue;
    }
    if (by_time && !filled) fill(memory, tuning_bytes(), half_, stream);
    filled = true;
    choose(*plan, memory, by_time, stream, workspace);
    if (by_time) file.remember(machine_ + key, {plan->algorithm, workspace.bytes});
  }
}

// Candidates are timed in turns, so that the clock's changes meet all of them; the smallest median wins.
void Matmuls::choose(Matmul& matmul, void* memory, bool by_time, cudaStream_t stream, Workspace workspace) {
  const std::string what = "product " + matmul.shape().text();
  cublasLtMatmulPreference_t preference = nullptr;
  check_lt(cublasLtMatmulPreferenceCreate(&preference), what);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check_lt(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), what);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace.bytes));
  // Split sums are added in fp32: in the output's 16 bits they would lose what they are split for.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  // The library looks at the pointer when it decides about bias; any aligned one does.
  if (matmul.shape().bias) matmul.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(workspace.data));
  std::vector<cublasLtMatmulHeuristicResult_t> found(kCandidates);
  int n = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, matmul.desc, matmul.a, matmul.b, matmul.d,
                                                               matmul.d, preference, kCandidates, found.data(), &n);
  cublasLtMatmulPreferenceDestroy(preference);
  check_lt(status, what);
  if (n == 0) fail(ESP_E_UNSUPPORTED, "cuBLASLt has no algorithm for ", what);
  matmul.algorithm = found[0].algo;
  matmul.chosen = true;
  if (!by_time || n == 1) return;

  ++timed_;
  char* at = static_cast<char*>(memory);
  MatmulOperands operands;
  operands.x = at;
  operands.y = at + matmul.x_bytes();
  if (matmul.shape().residual) operands.residual = at + matmul.x_bytes() + matmul.y_bytes();
  operands.weight = at + matmul.x_bytes() + 2 * matmul.y_bytes();
  operands.bias = matmul.shape().bias ? operands.weight : nullptr;
  Event begin, end;
  std::vector<std::vector<float>> times(static_cast<size_t>(n));
  std::vector<int> repeats(static_cast<size_t>(n), 2);
  for (int round = -1; round < kRounds; ++round) {  // the first one warms up and tells how often to repeat
    for (size_t i = 0; i < times.size(); ++i) {
      if (repeats[i] == 0) continue;
      matmul.algorithm = found[i].algo;
      try {
        check(cudaEventRecord(begin.event, stream), "timing a product");
        for (int j = 0; j < repeats[i]; ++j) run(matmul, operands, stream, workspace);
        check(cudaEventRecord(end.event, stream), "timing a product");
      } catch (const Failure&) {
        repeats[i] = 0;  // a candidate that does not run after all
        times[i].clear();
        continue;
      }
      check(cudaEventSynchronize(end.event), ("timing " + what).c_str());
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin.event, end.event), "timing a product");
      ms /= static_cast<float>(repeats[i]);
      if (round < 0) {
        repeats[i] = std::clamp(static_cast<int>(kRoundMs / std::max(ms, 1e-3f)), 2, 32);
      } else {
        times[i].push_back(ms);
      }
    }
  }
  float best = 0;
  size_t winner = times.size();
  for (size_t i = 0; i < times.size(); ++i) {
    if (times[i].empty()) continue;
    std::nth_element(times[i].begin(), times[i].begin() + kRounds / 2, times[i].end());
    const float median = times[i][kRounds / 2];
    if (winner == times.size() || median < best) {
      best = median;
      winner = i;
    }
  }
  if (winner == times.size()) fail(ESP_E_DEVICE, "none of cuBLASLt's ", n, " algorithms runs for ", what);
  matmul.algorithm = found[winner].algo;
}

void Matmuls::run(const Matmul& matmul, const MatmulOperands& operands, cudaStream_t stream,
                  Workspace workspace) const {
  const MatmulShape& shape = matmul.shape();
  const float one = 1, zero = 0;
  const void *a = operands.weight, *b = operands.x, *d = operands.y;
  bool adds = shape.residual;
  if (shape.product == Product::kInput) {
    b = operands.y;
    d = operands.x;
  } else if (shape.product == Product::kWeight) {
    a = operands.x;
    b = operands.y;
    d = operands.weight;
  }
  if (shape.product != Product::kForward) adds = operands.add;
  const void* c = shape.residual ? operands.residual : d;
  if (shape.bias) matmul.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
  check_lt(cublasLtMatmul(handle_, matmul.desc, &one, a, matmul.a, b, matmul.b, adds ? &one : &zero, c, matmul.d,
                          const_cast<void*>(d), matmul.d, &matmul.algorithm, workspace.data, workspace.bytes, stream),
           "product " + shape.text());
}

}  // namespace esp::vit::fused
