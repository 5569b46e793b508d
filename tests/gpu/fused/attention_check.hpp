// What the parts of attention_check share: sizes, guarded arrays, comparisons, the plain computation, the kernels.
#pragma once

#include <functional>

#include "attention.cuh"
#include "support.hpp"

namespace esp::vit::fused::test {

inline constexpr int kWidth = 64;  // of a head

template <class T>
struct Kind;
template <>
struct Kind<__nv_bfloat16> {
  static constexpr Half kHalf = Half::kBf16;
  static constexpr double kError = 8e-3;
  static constexpr const char* kName = "bf16";
};
template <>
struct Kind<__half> {
  static constexpr Half kHalf = Half::kFp16;
  static constexpr double kError = 1.2e-3;
  static constexpr const char* kName = "fp16";
};

struct Size {
  int images, tokens, heads;
  AttentionShape shape() const { return {images, tokens, heads}; }
  size_t rows() const { return static_cast<size_t>(images) * tokens; }
  size_t width() const { return static_cast<size_t>(heads) * kWidth; }
  size_t lse() const { return rows() * heads; }
  int all() const { return images * heads; }
};

extern int failures;  // lines that began with FAIL

// A device array with room behind it that must stay as it is, all of it poisoned.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t n) : n_(n), all_(n + kGuard) {}
  T* get() const { return all_.get(); }
  void poison() const {
    cuda(cudaMemset(all_.get(), 0xff, (n_ + kGuard) * sizeof(T)), "poison");
    cuda(cudaDeviceSynchronize(), "poison");  // the kernels' stream does not wait for the default one
  }
  std::vector<float> host(const std::string& what) const {
    const std::vector<T> all = all_.host();
    const auto* bytes = reinterpret_cast<const unsigned char*>(all.data() + n_);
    for (size_t i = 0; i < kGuard * sizeof(T); ++i) {
      if (bytes[i] == 0xff) continue;
      std::printf("FAIL %s: written %zu bytes beyond its end\n", what.c_str(), i);
      ++failures;
      break;
    }
    std::vector<float> out(n_);
    for (size_t i = 0; i < n_; ++i) out[i] = wide(all[i]);
    return out;
  }

 private:
  static constexpr size_t kGuard = 4096;
  size_t n_;
  DeviceArray<T> all_;
};

// One head of a row-major [rows][stride] array.
std::vector<float> head_of(const std::vector<float>& all, const Size& size, int image, int column, size_t stride);
// Compares [rows][columns]; prints one line when it differs: how many, in which rows and columns, the first of them.
bool same(const std::string& what, const std::vector<float>& got, const std::vector<float>& wanted, int columns,
          double tolerance, double* error = nullptr);
// At most `most` heads, spread over all.
std::vector<int> sample_heads(const Size& size, int most);

template <class T>
std::string label(const Size& size, const std::string& variant, const char* what) {
  return std::string(Kind<T>::kName) + " " + std::to_string(size.images) + "x" + std::to_string(size.tokens) + "x" +
         std::to_string(size.heads) + " " + variant + " " + what;
}

template <class T>
std::vector<float> widened(const std::vector<T>& from) {
  std::vector<float> out(from.size());
  for (size_t i = 0; i < from.size(); ++i) out[i] = wide(from[i]);
  return out;
}

// What a head is made of: value(which of q, k, v; row; column).
template <class T>
std::vector<T> made_of(const Size& size, const std::function<float(int, int, int)>& value) {
  std::vector<T> qkv;
  for (size_t row = 0; row < size.rows(); ++row) {
    for (int which = 0; which < 3; ++which) {
      for (size_t c = 0; c < size.width(); ++c) {
        qkv.push_back(narrow<T>(value(which, static_cast<int>(row % size.tokens), static_cast<int>(c % kWidth))));
      }
    }
  }
  return qkv;
}

// The plain computation of one head, in fp32 with the kernels' narrow inputs.
struct Plain {
  std::vector<float> p, out, lse;
};
Plain plain_head(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v, int n);
float dot(const float* a, const float* b);         // of kWidth
void add(float* to, float by, const float* from);  // of kWidth

using ForwardKernel = std::function<void(const Launch&, const AttentionShape&, const void*, void*, float*)>;
struct ForwardVariant {
  std::string name;
  std::function<bool(const Size&)> takes;
  ForwardKernel run;
};
std::vector<ForwardVariant> forward_variants(bool wgmma);

using BackwardKernel = std::function<void(const Launch&, const AttentionShape&, const void*, const void*, const float*,
                                          const void*, void*, float*)>;
struct BackwardVariant {
  std::string name;
  std::function<bool(const Size&)> takes;
  BackwardKernel run;
};
std::vector<BackwardVariant> backward_variants(bool wgmma);

template <class T>
void check_forward_all(const Launch& launch, bool wgmma);
template <class T>
void check_backward_all(const Launch& launch, bool wgmma);
// A few small cases.
template <class T>
void check_forward_small(const Launch& launch, bool wgmma);
template <class T>
void check_backward_small(const Launch& launch, bool wgmma);

}  // namespace esp::vit::fused::test
