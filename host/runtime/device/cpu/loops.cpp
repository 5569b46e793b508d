#include "runtime/device/cpu/loops.hpp"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <bit>
#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// One copy per instruction set, picked at load time. Sanitizers do not stand the resolvers, which run before them.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
#define ESPALIER_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ESPALIER_CLONES
#endif

namespace esp::runtime::loops {
namespace {

template <class T>
[[gnu::always_inline]] inline void scale_body(uint64_t n, T a, const T* x, T* y) {
#pragma GCC ivdep
  for (uint64_t i = 0; i < n; ++i) y[i] = a * x[i];
}

template <class T>
[[gnu::always_inline]] inline void scale_add_body(uint64_t n, T a, const T* x, T b, const T* y, T* out) {
#pragma GCC ivdep
  for (uint64_t i = 0; i < n; ++i) out[i] = a * x[i] + b * y[i];
}

template <class T>
[[gnu::always_inline]] inline void add_squares_body(uint64_t n, const T* __restrict x, double* __restrict lanes) {
  double sum[kLanes];
  for (uint64_t lane = 0; lane < kLanes; ++lane) sum[lane] = lanes[lane];
  const uint64_t whole = n / kLanes * kLanes;
  for (uint64_t i = 0; i < whole; i += kLanes) {
    for (uint64_t lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<double>(x[i + lane]);
      sum[lane] += value * value;
    }
  }
  for (uint64_t i = whole; i < n; ++i) {
    const auto value = static_cast<double>(x[i]);
    sum[i - whole] += value * value;
  }
  for (uint64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = sum[lane];
}

template <class T>
[[gnu::always_inline]] inline void adamw_body(uint64_t n, const AdamW<T>& s, const T* __restrict grad, T* __restrict p,
                                              T* __restrict m, T* __restrict v) {
  const AdamW<T> c = s;
  for (uint64_t i = 0; i < n; ++i) {
    const T g = grad[i] * c.coef;
    const T decayed = p[i] * c.decay;
    const T mean = m[i] + c.one_minus_beta1 * (g - m[i]);
    const T square = v[i] * c.beta2 + c.one_minus_beta2 * g * g;
    m[i] = mean;
    v[i] = square;
    p[i] = decayed + c.minus_step * mean / (std::sqrt(square) / c.sqrt_bias2 + c.eps);
  }
}

template <class T>
[[gnu::always_inline]] inline void sgd_body(uint64_t n, const Sgd<T>& s, const T* __restrict grad, T* __restrict p) {
  const Sgd<T> c = s;
  for (uint64_t i = 0; i < n; ++i) {
    T g = grad[i] * c.coef;
    g = c.decay != 0 ? g + c.decay * p[i] : g;
    p[i] = p[i] + c.minus_lr * g;
  }
}

template <class T>
[[gnu::always_inline]] inline void momentum_body(uint64_t n, const Sgd<T>& s, const T* __restrict grad, T* __restrict p,
                                                 T* __restrict momentum) {
  const Sgd<T> c = s;
  for (uint64_t i = 0; i < n; ++i) {
    T g = grad[i] * c.coef;
    g = c.decay != 0 ? g + c.decay * p[i] : g;
    const T velocity = momentum[i] * c.momentum + g;
    momentum[i] = velocity;
    p[i] = p[i] + c.minus_lr * velocity;
  }
}

// The first elements, as many as whole vectors take; returns their number. Bits are those of c10.
#if defined(__x86_64__)
constexpr uint64_t kHalfVector = 8;

// CPUs with AVX2 have these conversions, too.
bool converts_halves() {
  static const bool can = __builtin_cpu_supports("avx2");
  return can;
}

__attribute__((target("avx2,f16c"))) uint64_t vector_half_to_float(uint64_t n, const uint16_t* from, float* to) {
  if (!converts_halves()) return 0;
  uint64_t i = 0;
  for (; i + kHalfVector <= n; i += kHalfVector) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
  }
  return i;
}

__attribute__((target("avx2,f16c"))) uint64_t vector_float_to_half(uint64_t n, const float* from, uint16_t* to) {
  if (!converts_halves()) return 0;
  uint64_t i = 0;
  for (; i + kHalfVector <= n; i += kHalfVector) {
    const __m256 values = _mm256_loadu_ps(from + i);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    if (_mm256_movemask_ps(_mm256_cmp_ps(values, values, _CMP_UNORD_Q)) == 0) continue;
    for (uint64_t j = i; j < i + kHalfVector; ++j) to[j] = c10::Half(from[j]).x;  // the instruction keeps NaNs' payload
  }
  return i;
}
#else
uint64_t vector_half_to_float(uint64_t, const uint16_t*, float*) { return 0; }
uint64_t vector_float_to_half(uint64_t, const float*, uint16_t*) { return 0; }
#endif

}  // namespace

void half_to_float(uint64_t n, const uint16_t* from, float* to) {
  uint64_t i = vector_half_to_float(n, from, to);
  for (; i < n; ++i) to[i] = c10::Half(from[i], c10::Half::from_bits());
}

void float_to_half(uint64_t n, const float* from, uint16_t* to) {
  uint64_t i = vector_float_to_half(n, from, to);
  for (; i < n; ++i) to[i] = c10::Half(from[i]).x;
}

ESPALIER_CLONES void bfloat_to_float(uint64_t n, const uint16_t* __restrict from, float* __restrict to) {
  for (uint64_t i = 0; i < n; ++i) to[i] = std::bit_cast<float>(static_cast<uint32_t>(from[i]) << 16);
}

// To nearest, ties to even; every NaN becomes the same one, as with c10. In integers, so that it vectorises.
ESPALIER_CLONES void float_to_bfloat(uint64_t n, const float* __restrict from, uint16_t* __restrict to) {
  for (uint64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(from[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const bool is_nan = static_cast<int32_t>(bits & 0x7fffffffu) > 0x7f800000;
    to[i] = static_cast<uint16_t>(is_nan ? 0x7fc0u : rounded);
  }
}

ESPALIER_CLONES void float_to_double(uint64_t n, const float* __restrict from, double* __restrict to) {
  for (uint64_t i = 0; i < n; ++i) to[i] = from[i];
}

ESPALIER_CLONES void double_to_float(uint64_t n, const double* __restrict from, float* __restrict to) {
  for (uint64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
}

void double_to_odd_float(uint64_t n, const double* from, float* to) {
  for (uint64_t i = 0; i < n; ++i) {
    const auto nearest = static_cast<float>(from[i]);
    auto bits = std::bit_cast<uint32_t>(nearest);
    const bool exact = static_cast<double>(nearest) == from[i] || std::isnan(nearest);
    if (!exact && (bits & 1) == 0)
      bits = std::fabs(static_cast<double>(nearest)) > std::fabs(from[i]) ? bits - 1 : bits + 1;
    to[i] = std::bit_cast<float>(bits);
  }
}

ESPALIER_CLONES void scale(uint64_t n, float a, const float* x, float* y) { scale_body(n, a, x, y); }
ESPALIER_CLONES void scale(uint64_t n, double a, const double* x, double* y) { scale_body(n, a, x, y); }

ESPALIER_CLONES void scale_add(uint64_t n, float a, const float* x, float b, const float* y, float* out) {
  scale_add_body(n, a, x, b, y, out);
}
ESPALIER_CLONES void scale_add(uint64_t n, double a, const double* x, double b, const double* y, double* out) {
  scale_add_body(n, a, x, b, y, out);
}

ESPALIER_CLONES void divide(uint64_t n, float by, float* x) {
  for (uint64_t i = 0; i < n; ++i) x[i] /= by;
}
ESPALIER_CLONES void divide(uint64_t n, double by, double* x) {
  for (uint64_t i = 0; i < n; ++i) x[i] /= by;
}

ESPALIER_CLONES void add_squares(uint64_t n, const float* x, double* lanes) { add_squares_body(n, x, lanes); }
ESPALIER_CLONES void add_squares(uint64_t n, const double* x, double* lanes) { add_squares_body(n, x, lanes); }

ESPALIER_CLONES void adamw(uint64_t n, const AdamW<float>& s, const float* grad, float* p, float* m, float* v) {
  adamw_body(n, s, grad, p, m, v);
}
ESPALIER_CLONES void adamw(uint64_t n, const AdamW<double>& s, const double* grad, double* p, double* m, double* v) {
  adamw_body(n, s, grad, p, m, v);
}

ESPALIER_CLONES void sgd(uint64_t n, const Sgd<float>& s, const float* grad, float* p, float* momentum) {
  momentum == nullptr ? sgd_body(n, s, grad, p) : momentum_body(n, s, grad, p, momentum);
}
ESPALIER_CLONES void sgd(uint64_t n, const Sgd<double>& s, const double* grad, double* p, double* momentum) {
  momentum == nullptr ? sgd_body(n, s, grad, p) : momentum_body(n, s, grad, p, momentum);
}

}  // namespace esp::runtime::loops
