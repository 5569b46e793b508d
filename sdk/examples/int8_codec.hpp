// Gradients as bytes, with what is lost kept for the next step (error feedback). Groups of 256 elements: a float, the
// group's scale, and 256 signed bytes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define CODEC_HD __host__ __device__
#else
#define CODEC_HD
#endif

constexpr uint64_t kGroup = 256;
constexpr uint64_t kGroupBytes = sizeof(float) + kGroup;

constexpr uint64_t groups_of(uint64_t n) { return (n + kGroup - 1) / kGroup; }

struct Encode {
  const float* gradient;
  float* lost;  // added before, what is lost after
  uint8_t* out;
  uint64_t n;
};

struct Decode {
  const uint8_t* in;  // all ranks', one behind the other
  float* gradient;    // becomes their mean
  uint64_t n;
  int32_t ranks;
};

CODEC_HD inline void encode_group(const Encode& job, uint64_t group) {
  const uint64_t begin = group * kGroup, n = job.n - begin < kGroup ? job.n - begin : kGroup;
  uint8_t* out = job.out + group * kGroupBytes;
  float largest = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const float value = std::fabs(job.gradient[begin + i] + job.lost[begin + i]);
    if (!(value <= largest)) largest = value;  // a NaN wins, and reaches every rank
  }
  const float scale = largest / 127;
  memcpy(out, &scale, sizeof scale);
  const bool is_finite = largest - largest == 0;
  for (uint64_t i = 0; i < n; ++i) {
    const float value = job.gradient[begin + i] + job.lost[begin + i];
    const float code = is_finite && scale > 0 ? std::nearbyint(value / scale) : 0;
    out[sizeof scale + i] = static_cast<uint8_t>(static_cast<int8_t>(code < -127 ? -127 : code > 127 ? 127 : code));
    job.lost[begin + i] = is_finite ? value - code * scale : 0;
  }
}

CODEC_HD inline void decode_group(const Decode& job, uint64_t group) {
  const uint64_t begin = group * kGroup, n = job.n - begin < kGroup ? job.n - begin : kGroup;
  const uint64_t rank_bytes = (job.n + kGroup - 1) / kGroup * kGroupBytes;
  for (uint64_t i = 0; i < n; ++i) {
    float sum = 0;
    for (int32_t rank = 0; rank < job.ranks; ++rank) {
      const uint8_t* in = job.in + rank * rank_bytes + group * kGroupBytes;
      float scale;
      memcpy(&scale, in, sizeof scale);
      const float code = static_cast<int8_t>(in[sizeof scale + i]);
      sum += scale - scale == 0 ? code * scale : scale;  // not finite: the step is skipped or stops
    }
    job.gradient[begin + i] = sum / static_cast<float>(job.ranks);
  }
}

// In int8_codec.cu: on the host's stream, never on one of their own.
void encode_on_gpu(const Encode& job, void* stream);
void decode_on_gpu(const Decode& job, void* stream);
