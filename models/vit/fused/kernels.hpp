// The kernels of the fused executor, as functions that enqueue on a stream. Pointers are device memory; `half` is bf16
// or fp16, as Half says. Matrices are dense and row-major; widths are multiples of 8 and pointers 16-byte aligned.
// Nothing uses atomics: same inputs, same bits. Each function throws Failure when its launch is refused.
//
// Shapes in comments: B images, N tokens of an image, M = B * N rows, C width, I width inside the MLP.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace esp::vit::fused {

enum class Half : uint32_t { kBf16, kFp16 };

// A launch's surroundings.
struct Launch {
  cudaStream_t stream;
  Half half;
  int processors;  // of the device
};

// Throws Failure naming `what` for a CUDA status other than success.
void check(cudaError_t status, const char* what);

// ---- column sums: partial sums that kernels leave, added up into gradients ----

enum class Sum : uint32_t { kHalf, kFloat };

// dst[j] (+)= sum over r < rows of src[r * stride + j], j < width. src NULL: zeros.
struct SumTask {
  const float* src = nullptr;
  void* dst = nullptr;
  int rows = 0;
  int stride = 0;
  int width = 0;
  Sum type = Sum::kHalf;  // of dst
  bool add = false;
};
inline constexpr int kMaxSumTasks = 12;
void sum_columns(const Launch& launch, const SumTask* tasks, int n);

// dst = the concatenation of up to 6 arrays of halves, each of a multiple of 8 elements.
struct CopyTask {
  const void* src[6];
  void* dst[6];
  int64_t elements[6];
  int n;
};
void copy_halves(const Launch& launch, const CopyTask& task);

// ---- embedding ----

struct PixelMap {
  float scale[3], shift[3];  // value = pixel * scale + shift, for red, green, blue
};
struct PatchShape {
  int images, side, patch;  // pixels along an image's and a patch's side
};
// out [B, N, 3 * patch * patch]: row 0 of an image is zero, the others are its patches in the order of the projection's
// weight (channel, row, column), mirrored where flip[b] != 0.
void gather_patches(const Launch& launch, const PatchShape& shape, const PixelMap& map, const uint8_t* pixels,
                    const uint8_t* flip, void* out);
// x [M, C] holds projected patches: adds positions, bias (patches) and the class token (row 0), in place.
void embed(const Launch& launch, int images, int tokens, int width, const void* position, const void* cls,
           const void* bias, void* x);
// sums [N, C] = sum over images of dx [M, C].
void sum_images(const Launch& launch, int images, int tokens, int width, const void* dx, float* sums);

// ---- layer norm ----

inline constexpr int kMaxNormWidth = 1024;

// y = (x - mean) * rstd * gamma + beta. statistics: [rows] of (mean, rstd), NULL: not wanted. x_stride: elements from
// row to row of x; y is dense.
void norm_forward(const Launch& launch, int rows, int width, int64_t x_stride, float eps, const void* x,
                  const void* gamma, const void* beta, void* y, float2* statistics);

int norm_backward_partials(int processors);  // rows of its partial sums
// dx [rows, C] = norm's gradient for dy (+ residual). residual: gradient that passes the norm by, [rows /
// residual_every, C]: row r has row r / residual_every of it where residual_every divides r, else nothing; NULL: none.
// May be dx itself. partials [norm_backward_partials][3 * C]: sums of dgamma, dbeta and of dx's columns.
struct NormBackward {
  int rows, width;
  const void* dy;
  const void* x;
  const float2* statistics;
  const void* gamma;
  const void* residual;
  int residual_every;
  void* dx;
  float* partials;
};
void norm_backward(const Launch& launch, const NormBackward& norm);

// ---- GELU, erf form ----

void gelu_forward(const Launch& launch, int64_t elements, const void* u, void* g);
int gelu_backward_partials(int processors, int rows, int width);
// du (holds dg) *= GELU'(u), in place; partials [gelu_backward_partials][width]: sums of du's columns. g: NULL, or
// GELU(u) is written there again.
void gelu_backward(const Launch& launch, int rows, int width, const void* u, void* du, void* g, float* partials);

// ---- attention: heads of 64, at most 208 tokens ----

inline constexpr int kHeadWidth = 64;
inline constexpr int kMaxTokens = 208;

struct AttentionShape {
  int images, tokens, heads;
};
// qkv [M, 3 * C] (query, key, value; heads side by side) to out [M, C]. lse [B, heads, N]: log2 of the sum of
// exponentials, for backward; NULL: not wanted.
void attention_forward(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse);
// dqkv [M, 3 * C]. partials [B][2 * C]: sums over an image's rows of its query and value gradients.
void attention_backward(const Launch& launch, const AttentionShape& shape, const void* qkv, const void* out,
                        const float* lse, const void* dout, void* dqkv, float* partials);
// The class token's row alone: q, out, dout, dq [B, C]; kv, dkv [M, 2 * C]. partials as above.
void class_attention_forward(const Launch& launch, const AttentionShape& shape, const void* q, const void* kv,
                             void* out);
void class_attention_backward(const Launch& launch, const AttentionShape& shape, const void* q, const void* kv,
                              const void* dout, void* dq, void* dkv, float* partials);
// Once per device: allows the kernels their shared memory.
void prepare_attention(Half half);

// ---- head and loss ----

// logits [B, classes] = h [B, C] * weight^T + bias.
void classify(const Launch& launch, int rows, int width, int classes, const void* h, const void* weight,
              const void* bias, float* logits);

struct Loss {
  int rows, classes;
  const float* logits;
  const int64_t* labels;
  const uint32_t* valid;  // 1 number: rows at and beyond it count for nothing
  const float* seed;      // 1 number
  float* dlogits;         // NULL: evaluation
  double* loss_sum;       // NULL: metrics do not count
  unsigned long long* correct;
  int32_t* predicted;  // NULL: not wanted
};
void cross_entropy(const Launch& launch, const Loss& loss);

// dh [B, C] = dlogits * weight.
void classify_backward(const Launch& launch, int rows, int width, int classes, const float* dlogits, const void* weight,
                       void* dh);
// sums [classes * C + classes]: gradient of weight, then of the bias.
void classifier_gradient(const Launch& launch, int rows, int width, int classes, const float* dlogits, const void* h,
                         float* sums);

}  // namespace esp::vit::fused
