#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <limits>
#include <random>

#include "rig.hpp"
#include "runtime/device/dtype.hpp"

namespace esp::runtime::test {
namespace {

const std::vector<uint64_t> kSizes{1, 7, 8, 1023, 1024, 1025, 70001};
const std::vector<esp_dtype> kDtypes{ESP_F32, ESP_F64, ESP_F16, ESP_BF16};
constexpr float kInf = std::numeric_limits<float>::infinity();

// An independent conversion: c10 for halves of a float.
double get(const void* data, esp_dtype dtype, uint64_t i) {
  switch (dtype) {
    case ESP_F16:
      return static_cast<const c10::Half*>(data)[i];
    case ESP_BF16:
      return static_cast<const c10::BFloat16*>(data)[i];
    case ESP_F32:
      return static_cast<const float*>(data)[i];
    default:
      return static_cast<const double*>(data)[i];
  }
}

void put(void* data, esp_dtype dtype, uint64_t i, double value) {
  switch (dtype) {
    case ESP_F16:
      static_cast<c10::Half*>(data)[i] = static_cast<float>(value);
      return;
    case ESP_BF16:
      static_cast<c10::BFloat16*>(data)[i] = static_cast<float>(value);
      return;
    case ESP_F32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      return;
    default:
      static_cast<double*>(data)[i] = value;
  }
}

double epsilon(esp_dtype dtype) {
  return dtype == ESP_BF16 ? 0x1p-8 : dtype == ESP_F16 ? 0x1p-11 : dtype == ESP_F32 ? 0x1p-24 : 0x1p-53;
}

class KernelsOnCpu : public Rig {
 protected:
  void* random(uint64_t n, esp_dtype dtype) {
    void* data = arena_.alloc(ESP_DEVICE, n * bytes_of(dtype), ESP_TAG_OTHER);
    std::normal_distribution<double> normal;
    for (uint64_t i = 0; i < n; ++i) put(data, dtype, i, normal(engine_));
    return data;
  }
  std::mt19937_64 engine_{3};
};

TEST_F(KernelsOnCpu, ConvertRoundsOnceBetweenAllFloatTypes) {
  for (esp_dtype from : kDtypes) {
    for (esp_dtype to : kDtypes) {
      for (uint64_t n : kSizes) {
        const void* src = random(n, from);
        void* dst = random(n + 1, to);
        put(dst, to, n, 42);
        kernels().convert(compute(), dst, to, src, from, n);
        sync();
        for (uint64_t i = 0; i < n; ++i) {
          const double want = get(src, from, i);
          ASSERT_NEAR(get(dst, to, i), want, std::abs(want) * epsilon(to) + 0x1p-25)
              << name_of(from) << name_of(to) << n;
        }
        EXPECT_EQ(get(dst, to, n), 42) << "wrote beyond the end";
      }
    }
  }
}

TEST_F(KernelsOnCpu, ConvertOfADoubleIsNotRoundedTwice) {
  // Just above the middle between 1 and the next half: by way of fp32 it would become the tie, and go to even (1).
  auto src = array<double>({1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11, -(1 + 0x1p-11 + 0x1p-40), 1 + 3 * 0x1p-11 - 0x1p-40});
  auto dst = array<c10::Half>(std::vector<c10::Half>(4));
  kernels().convert(compute(), dst.data(), ESP_F16, src.data(), ESP_F64, 4);
  sync();
  EXPECT_EQ(static_cast<float>(dst[0]), 1 + 0x1p-10f);
  EXPECT_EQ(static_cast<float>(dst[1]), 1.0f);
  EXPECT_EQ(static_cast<float>(dst[2]), -(1 + 0x1p-10f));
  EXPECT_EQ(static_cast<float>(dst[3]), 1 + 0x1p-10f);
}

TEST_F(KernelsOnCpu, ConvertKeepsInfinitiesNansAndOverflows) {
  auto src = array<float>({kInf, -kInf, std::nanf(""), 70000.0f, 1e-9f, -0.0f});
  auto half = array<c10::Half>(std::vector<c10::Half>(6));
  auto bfloat = array<c10::BFloat16>(std::vector<c10::BFloat16>(6));
  kernels().convert(compute(), half.data(), ESP_F16, src.data(), ESP_F32, 6);
  kernels().convert(compute(), bfloat.data(), ESP_BF16, src.data(), ESP_F32, 6);
  sync();
  EXPECT_EQ(static_cast<float>(half[0]), kInf);
  EXPECT_EQ(static_cast<float>(half[1]), -kInf);
  EXPECT_TRUE(std::isnan(static_cast<float>(half[2])));
  EXPECT_EQ(static_cast<float>(half[3]), kInf);
  EXPECT_EQ(static_cast<float>(half[4]), 0.0f);
  EXPECT_TRUE(std::signbit(static_cast<float>(half[5])));
  EXPECT_EQ(static_cast<float>(bfloat[0]), kInf);
  EXPECT_TRUE(std::isnan(static_cast<float>(bfloat[2])));
}

TEST_F(KernelsOnCpu, AxpbyMatchesDoubleForAllDtypesAndOddSizes) {
  auto scalars = array<float>({0.5f, -2.0f});
  for (esp_dtype x_t : kDtypes) {
    for (esp_dtype y_t : kDtypes) {
      for (uint64_t n : kSizes) {
        const void* x = random(n, x_t);
        void* y = random(n, y_t);
        std::vector<double> want(n);
        for (uint64_t i = 0; i < n; ++i) want[i] = 1.5 * 0.5 * get(x, x_t, i) + 0.25 * -2.0 * get(y, y_t, i);
        kernels().axpby(compute(), n, 1.5f, &scalars[0], x, x_t, 0.25f, &scalars[1], y, y_t);
        sync();
        const double fine = x_t == ESP_F64 || y_t == ESP_F64 ? 0x1p-50 : 0x1p-21;
        const double subnormal = y_t == ESP_F16 ? 0x1p-25 : 0;
        for (uint64_t i = 0; i < n; ++i) {
          ASSERT_NEAR(get(y, y_t, i), want[i], std::abs(want[i]) * epsilon(y_t) + 4 * fine + subnormal)
              << name_of(x_t) << name_of(y_t);
        }
      }
    }
  }
}

TEST_F(KernelsOnCpu, AxpbyWithZeroBNeverReadsY) {
  auto x = array<float>({1, 2, 3});
  auto y = array<float>({kInf, std::nanf(""), 0});
  auto nan = array<float>({std::nanf("")});
  kernels().axpby(compute(), 3, 2, nullptr, x.data(), ESP_F32, 0, nan.data(), y.data(), ESP_F32);
  sync();
  EXPECT_EQ(copied(y), (std::vector<float>{2, 4, 6}));
}

TEST_F(KernelsOnCpu, AxpbyScalesInPlace) {
  auto x = array<float>(std::vector<float>(2000, 3.0f));
  kernels().axpby(compute(), 2000, 2, nullptr, x.data(), ESP_F32, 0, nullptr, x.data(), ESP_F32);
  kernels().axpby(compute(), 2000, 1, nullptr, x.data(), ESP_F32, 1, nullptr, x.data(), ESP_F32);
  sync();
  for (float value : x) ASSERT_EQ(value, 12.0f);
}

TEST_F(KernelsOnCpu, SumOfSquaresIsTakenInDoubleAndAdded) {
  for (esp_dtype dtype : kDtypes) {
    for (uint64_t n : kSizes) {
      const void* x = random(n, dtype);
      double want = 2;
      for (uint64_t i = 0; i < n; ++i) want += get(x, dtype, i) * get(x, dtype, i);
      auto sum = array<float>({2});
      auto exact = array<double>({2});
      kernels().sum_sq(compute(), x, n, dtype, sum.data());
      kernels().add_sum_sq(compute(), std::vector<NormPiece>{{x, n, dtype}}, exact.data());
      sync();
      EXPECT_NEAR(sum[0], want, want * 0x1p-23);
      EXPECT_NEAR(exact[0], want, want * 1e-13);
    }
  }
}

TEST_F(KernelsOnCpu, SumOfSquaresDoesNotDependOnTheNumberOfThreads) {
  const uint64_t n = 3000017;
  const void* x = random(n, ESP_F32);
  auto sum = array<double>({0});
  kernels().add_sum_sq(compute(), std::vector<NormPiece>{{x, n, ESP_F32}}, sum.data());
  sync();
  auto many = make_cpu_device(3);
  Arena arena(many->memory(), "many");
  auto* other = static_cast<double*>(arena.alloc(ESP_DEVICE, sizeof(double), ESP_TAG_OTHER));
  many->kernels().add_sum_sq(many->compute(), std::vector<NormPiece>{{x, n, ESP_F32}}, other);
  many->sync(many->compute());
  EXPECT_EQ(*other, sum[0]);
  auto one = make_cpu_device(1);  // the process's thread count as it was
}

TEST_F(KernelsOnCpu, CopyAndZeroTouchTheirBytesOnly) {
  auto src = array<unsigned char>(std::vector<unsigned char>(3 << 20, 9));
  auto dst = array<unsigned char>(std::vector<unsigned char>(3 << 20, 1), ESP_PINNED);
  kernels().copy(compute(), dst.data() + 1, src.data(), src.size() - 2);
  kernels().zero(compute(), dst.data() + 5, 3);
  sync();
  EXPECT_EQ(dst[0], 1);
  EXPECT_EQ(dst[1], 9);
  EXPECT_EQ(dst[4], 9);
  EXPECT_EQ(dst[5], 0);
  EXPECT_EQ(dst[7], 0);
  EXPECT_EQ(dst[8], 9);
  EXPECT_EQ(dst[dst.size() - 2], 9);
  EXPECT_EQ(dst[dst.size() - 1], 1);
}

TEST_F(KernelsOnCpu, ScalarsRunInOrder) {
  auto r = array<float>({4, 3, 0, kInf, 1});
  const std::vector<float*> regs{&r[0], &r[1], &r[2], &r[3], &r[4]};
  const std::vector<esp_sop> ops{{ESP_SOP_SQRT, 2, 0, 0, 0},          {ESP_SOP_ADD, 2, 2, 1, 0},     // 5
                                 {ESP_SOP_MUL, 2, 2, ESP_SOP_IMM, 2}, {ESP_SOP_SUB, 2, 2, 1, 0},     // 7
                                 {ESP_SOP_DIV, 2, 2, ESP_SOP_IMM, 2}, {ESP_SOP_MAX, 2, 2, 0, 0},     // 4
                                 {ESP_SOP_MIN, 2, 2, 1, 0},           {ESP_SOP_FINITE, 4, 3, 0, 0},  // 3; 0
                                 {ESP_SOP_SELECT, 4, 0, 1, 0},        {ESP_SOP_SET, 3, 2, 0, 0}};    // 3; 3
  kernels().scalars(compute(), ops, regs);
  sync();
  EXPECT_EQ(copied(r), (std::vector<float>{4, 3, 3, 3, 3}));
}

TEST_F(KernelsOnCpu, ANanWinsMaximumAndMinimum) {
  auto r = array<float>({std::nanf(""), 1, 0, 0});
  const std::vector<float*> regs{&r[0], &r[1], &r[2], &r[3]};
  const std::vector<esp_sop> ops{{ESP_SOP_MAX, 2, 0, 1, 0}, {ESP_SOP_MIN, 3, 1, 0, 0}};
  kernels().scalars(compute(), ops, regs);
  sync();
  EXPECT_TRUE(std::isnan(r[2]));
  EXPECT_TRUE(std::isnan(r[3]));
}

}  // namespace
}  // namespace esp::runtime::test
