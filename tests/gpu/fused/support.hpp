// For checks on a GPU: device arrays, reproducible values, comparisons that print one line each.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

namespace esp::vit::fused::test {

inline void cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("CUDA failed: %s: %s\n", what, cudaGetErrorString(status));
  std::fflush(stdout);
  std::exit(3);
}

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n = 0) : n_(n) {
    if (n_ == 0) return;
    cuda(cudaMalloc(&data_, n_ * sizeof(T)), "cudaMalloc");
    cuda(cudaMemset(data_, 0xff, n_ * sizeof(T)), "poison");  // NaN in every float type: what is not written shows
  }
  explicit DeviceArray(const std::vector<T>& from) : DeviceArray(from.size()) {
    cuda(cudaMemcpy(data_, from.data(), n_ * sizeof(T), cudaMemcpyHostToDevice), "upload");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  size_t size() const { return n_; }
  std::vector<T> host() const {
    std::vector<T> out(n_);
    cuda(cudaMemcpy(out.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost), "download");
    return out;
  }

 private:
  T* data_ = nullptr;
  size_t n_;
};

inline float wide(float x) { return x; }
inline float wide(double x) { return static_cast<float>(x); }
inline float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
inline float wide(__half x) { return __half2float(x); }
template <class T>
T narrow(float x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) return __float2bfloat16(x);
  if constexpr (std::is_same_v<T, __half>) return __float2half(x);
  if constexpr (std::is_same_v<T, float>) return x;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }
  // Nearly normal: the sum of four uniforms, scaled to variance 1.
  float normal() { return (uniform() + uniform() + uniform() + uniform() - 2) * 1.7320508f; }

 private:
  uint64_t state_;
};

template <class T>
std::vector<T> values(size_t n, uint64_t seed, float scale = 1, float shift = 0) {
  Random random(seed);
  std::vector<T> out(n);
  for (T& x : out) x = narrow<T>(random.normal() * scale + shift);
  return out;
}

// Counts failures; prints a line for each comparison.
class Checks {
 public:
  // Relative distance of `got` from `wanted`, the norm of the difference over the norm; NaN fails.
  template <class G, class W>
  void close(const std::string& name, const std::vector<G>& got, const std::vector<W>& wanted, double tolerance) {
    double difference = 0, norm = 0, worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double w = wide(wanted[i]), d = std::fabs(wide(got[i]) - w);
      difference += d * d;
      norm += w * w;
      if (!(d <= worst)) {
        worst = d;
        at = i;
      }
    }
    const double error = norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
    const bool ok = got.size() == wanted.size() && error <= tolerance;
    count(ok, name);
    std::printf("%-4s %-46s error %.2e (limit %.0e), worst %.2e at %zu: %.6g for %.6g\n", ok ? "ok" : "FAIL",
                name.c_str(), error, tolerance, worst, at, static_cast<double>(wide(got[at])),
                static_cast<double>(wide(wanted[at])));
  }
  void equal(const std::string& name, bool ok, const std::string& detail = "") {
    count(ok, name);
    std::printf("%-4s %-46s %s\n", ok ? "ok" : "FAIL", name.c_str(), detail.c_str());
  }
  int failures() const { return failures_; }
  int total() const { return total_; }

 private:
  void count(bool ok, const std::string&) {
    ++total_;
    failures_ += ok ? 0 : 1;
  }
  int failures_ = 0, total_ = 0;
};

void check_kernels(Checks& checks, bool small);

}  // namespace esp::vit::fused::test
