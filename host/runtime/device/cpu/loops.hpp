// The innermost loops of the CPU kernels. Plain and element-wise, so that compilers vectorise them, and built without
// contraction, so that every instruction set gives the same bits.
#pragma once

#include <cstdint>

namespace esp::runtime::loops {

void half_to_float(uint64_t n, const uint16_t* from, float* to);
void bfloat_to_float(uint64_t n, const uint16_t* from, float* to);
void float_to_half(uint64_t n, const float* from, uint16_t* to);
void float_to_bfloat(uint64_t n, const float* from, uint16_t* to);
void float_to_double(uint64_t n, const float* from, double* to);
void double_to_float(uint64_t n, const double* from, float* to);
// To the nearest fp32 number whose last bit is odd unless exact: rounding that to a half type rounds once in effect.
void double_to_odd_float(uint64_t n, const double* from, float* to);

void scale(uint64_t n, float a, const float* x, float* y);  // y = a * x; y may be x
void scale(uint64_t n, double a, const double* x, double* y);
void scale_add(uint64_t n, float a, const float* x, float b, const float* y,
               float* out);  // out = a * x + b * y; out may be x or y
void scale_add(uint64_t n, double a, const double* x, double b, const double* y, double* out);
void divide(uint64_t n, float by, float* x);  // x /= by
void divide(uint64_t n, double by, double* x);

inline constexpr uint64_t kLanes = 8;
// lanes[i % 8] += x[i]^2; n is a multiple of 8 unless these are the last elements.
void add_squares(uint64_t n, const float* x, double* lanes);
void add_squares(uint64_t n, const double* x, double* lanes);

// torch.optim.AdamW, one element after the other in its order of operations.
template <class T>
struct AdamW {
  T coef, decay, one_minus_beta1, beta2, one_minus_beta2, sqrt_bias2, eps, minus_step;
};
void adamw(uint64_t n, const AdamW<float>& s, const float* grad, float* p, float* m, float* v);
void adamw(uint64_t n, const AdamW<double>& s, const double* grad, double* p, double* m, double* v);

// torch.optim.SGD; momentum: the slot or NULL.
template <class T>
struct Sgd {
  T coef, decay, momentum, minus_lr;
};
void sgd(uint64_t n, const Sgd<float>& s, const float* grad, float* p, float* momentum);
void sgd(uint64_t n, const Sgd<double>& s, const double* grad, double* p, double* momentum);

}  // namespace esp::runtime::loops
