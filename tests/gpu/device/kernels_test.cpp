// esp.kernels on a GPU against the CPU device. Both round the same operations once each, so that all of it but sums is
// compared bit for bit.
#include <cmath>
#include <limits>

#include "gpu_rig.hpp"

namespace esp::runtime::test {
namespace {

// Around a vector of four, a block of the CPU, a tile of the GPU; and many tiles with a rest.
const std::vector<uint64_t> kSizes{1, 3, 4, 5, 1023, 1024, 1025, 70001};
const std::vector<uint64_t> kHeads{0, 1, 3};  // elements before the first one: 256-byte aligned, and not
const std::vector<esp_dtype> kDtypes{ESP_F32, ESP_F64, ESP_F16, ESP_BF16};

class KernelsOnAGpu : public GpuRig {
 protected:
  // Frees what body has made on the GPU.
  template <class Body>
  void for_all_pairs(Body body) {
    for (esp_dtype from : kDtypes) {
      for (esp_dtype to : kDtypes) {
        for (uint64_t n : kSizes) {
          for (uint64_t head : kHeads) {
            SCOPED_TRACE(name_of(from) + " to " + name_of(to) + ", " + std::to_string(n) + " elements after " +
                         std::to_string(head));
            body(from, to, n, head);
            if (HasFailure()) return;
          }
        }
        arena_ = std::make_unique<Arena>(gpu_->memory(), "test");
      }
    }
  }
};

TEST_F(KernelsOnAGpu, ConvertGivesTheBitsOfTheCpuBetweenAllFloatTypes) {
  for_all_pairs([&](esp_dtype from, esp_dtype to, uint64_t n, uint64_t head) {
    const Twin src = random(head + n + 2, from), dst = random(head + n + 2, to);  // what lies around must stay
    both([&](Kernels& kernels, Stream& stream, auto at) {
      kernels.convert(stream, at(dst, head * bytes_of(to)), to, at(src, head * bytes_of(from)), from, n);
    });
    EXPECT_EQ(difference(dst), kNone);
  });
}

TEST_F(KernelsOnAGpu, ConvertOfEdgesGivesTheBitsOfTheCpu) {
  const double inf = std::numeric_limits<double>::infinity();
  // Overflows, ties of both halves, subnormals of both halves and of fp32, signed zeros.
  const std::vector<double> edges{
      inf,     -inf,      0.0,         -0.0,       70000.0,     65519.9,    65520.0,        1e-9,
      0x1p-24, 0x1p-25,   3 * 0x1p-25, -0x1.8p-24, 1 + 0x1p-11, 1 + 0x1p-8, 1 + 3 * 0x1p-9, 1 + 0x1p-11 + 0x1p-40,
      3.4e38,  3.3961e38, 0x1p-130,    0x1.1p-149, 0x1p-140,    -1e-45,     1e300,          1e-300};
  for (esp_dtype from : kDtypes) {
    for (esp_dtype to : kDtypes) {
      const Twin src = twin_of(edges, from), dst = twin(edges.size() * bytes_of(to));
      both([&](Kernels& kernels, Stream& stream, auto at) {
        kernels.convert(stream, at(dst), to, at(src), from, edges.size());
      });
      EXPECT_EQ(difference(dst), kNone) << name_of(from) << " to " << name_of(to);
    }
  }
}

TEST_F(KernelsOnAGpu, ConvertKeepsNans) {
  for (esp_dtype from : kDtypes) {
    for (esp_dtype to : kDtypes) {
      const Twin src = twin_of(std::vector<double>(5, std::nan("")), from), dst = twin(5 * bytes_of(to));
      const Twin seen = twin(5 * sizeof(double));
      kernels().convert(compute(), dst.gpu, to, src.gpu, from, 5);
      kernels().convert(compute(), seen.gpu, ESP_F64, dst.gpu, to, 5);
      for (double value : read(static_cast<double*>(seen.gpu), 5)) {
        EXPECT_TRUE(std::isnan(value)) << name_of(from) << " to " << name_of(to);
      }
    }
  }
}

TEST_F(KernelsOnAGpu, AxpbyGivesTheBitsOfTheCpuForAllDtypesAndFactors) {
  for_all_pairs([&](esp_dtype x_t, esp_dtype y_t, uint64_t n, uint64_t head) {
    const Twin factors = twin_of({0.5, -1.3}, ESP_F32);
    const Twin x = random(head + n + 2, x_t), y = random(head + n + 2, y_t);
    const auto run = [&](float b, bool scaled) {
      both([&](Kernels& kernels, Stream& stream, auto at) {
        const float* pa = scaled ? at.template operator()<float>(factors) : nullptr;
        const float* pb = scaled ? at.template operator()<float>(factors, sizeof(float)) : nullptr;
        kernels.axpby(stream, n, 1.7f, pa, at(x, head * bytes_of(x_t)), x_t, b, pb, at(y, head * bytes_of(y_t)), y_t);
      });
      EXPECT_EQ(difference(y), kNone) << "b " << b << (scaled ? ", factors on the device" : "");
    };
    run(1, false);
    run(0.3f, true);
    run(0, true);
  });
}

TEST_F(KernelsOnAGpu, AxpbyWithZeroBNeverReadsY) {
  const Twin x = twin_of({1, 2, 3, 4, 5}, ESP_F32), y = twin_of(std::vector<double>(5, std::nan("")), ESP_F32);
  const Twin nan = twin_of({std::nan("")}, ESP_F32);
  kernels().axpby(compute(), 5, 2, nullptr, x.gpu, ESP_F32, 0, static_cast<float*>(nan.gpu), y.gpu, ESP_F32);
  EXPECT_EQ(read(static_cast<float*>(y.gpu), 5), (std::vector<float>{2, 4, 6, 8, 10}));
}

TEST_F(KernelsOnAGpu, AxpbyScalesInPlace) {
  const Twin x = random(5001, ESP_BF16);
  both([&](Kernels& kernels, Stream& stream, auto at) {
    kernels.axpby(stream, 5001, 3, nullptr, at(x), ESP_BF16, 0, nullptr, at(x), ESP_BF16);
    kernels.axpby(stream, 5001, 1, nullptr, at(x), ESP_BF16, 1, nullptr, at(x), ESP_BF16);
  });
  EXPECT_EQ(difference(x), kNone);
}

// fp64 sums in another order: of n values they differ by n roundings at most, in practice by far fewer.
TEST_F(KernelsOnAGpu, SumsOfSquaresAgreeInDouble) {
  for (esp_dtype dtype : kDtypes) {
    for (uint64_t n : {1ull, 5ull, 1025ull, 70001ull, 3000017ull}) {
      for (uint64_t head : kHeads) {
        const Twin x = random(head + n, dtype), single = twin_of({2}, ESP_F32), exact = twin_of({2}, ESP_F64);
        both([&](Kernels& kernels, Stream& stream, auto at) {
          const void* from = at(x, head * bytes_of(dtype));
          kernels.sum_sq(stream, from, n, dtype, at.template operator()<float>(single));
          kernels.add_sum_sq(stream, std::vector<NormPiece>{{from, n, dtype}}, at.template operator()<double>(exact));
        });
        const double want = *static_cast<double*>(exact.cpu);
        EXPECT_NEAR(read(static_cast<double*>(exact.gpu), 1)[0], want, want * 1e-13) << name_of(dtype) << n;
        EXPECT_NEAR(read(static_cast<float*>(single.gpu), 1)[0], want, want * 0x1p-23) << name_of(dtype) << n;
      }
    }
    arena_ = std::make_unique<Arena>(gpu_->memory(), "test");
  }
}

TEST_F(KernelsOnAGpu, ASumOfManyPiecesOfAllDtypesIsTheSumOfEach) {
  std::vector<Twin> arrays;
  std::vector<std::pair<esp_dtype, uint64_t>> facts;
  for (uint64_t i = 0; i < 400; ++i) {  // more than one launch takes
    const esp_dtype dtype = kDtypes[i % 4];
    const uint64_t n = i % 7 == 0 ? 0 : (i * 37) % 2500;
    arrays.push_back(random(n + 1, dtype));
    facts.emplace_back(dtype, n);
  }
  const Twin sum = twin(sizeof(double));
  both([&](Kernels& kernels, Stream& stream, auto at) {
    std::vector<NormPiece> pieces;
    for (size_t i = 0; i < arrays.size(); ++i) pieces.push_back({at(arrays[i]), facts[i].second, facts[i].first});
    kernels.add_sum_sq(stream, pieces, at.template operator()<double>(sum));
  });
  const double want = *static_cast<double*>(sum.cpu);
  EXPECT_GT(want, 100000);
  EXPECT_NEAR(read(static_cast<double*>(sum.gpu), 1)[0], want, want * 1e-13);
}

TEST_F(KernelsOnAGpu, ASumIsTheSameBitsEveryTime) {
  const uint64_t n = 3000017;
  const Twin x = random(n, ESP_F32);
  double* sums = make<double>(8);
  auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  for (int i = 0; i < 8; ++i) {
    kernels().add_sum_sq(i % 2 == 0 ? compute() : *side, std::vector<NormPiece>{{x.gpu, n, ESP_F32}}, sums + i);
  }
  gpu_->sync(*side);
  const auto all = read(sums, 8);
  EXPECT_GT(all[0], 0);
  for (double sum : all) EXPECT_EQ(sum, all[0]);
}

TEST_F(KernelsOnAGpu, SumsOnTwoStreamsAtOnceDoNotMix) {
  const uint64_t n = 1000003;
  const Twin ones = twin_of(std::vector<double>(n, 1.0), ESP_F32), twos = twin_of(std::vector<double>(n, 2.0), ESP_F32);
  auto side = gpu_->create_stream(ESP_STREAM_DEVICE, 0, "side");
  double* sums = make<double>(2);
  for (int i = 0; i < 50; ++i) {
    kernels().add_sum_sq(compute(), std::vector<NormPiece>{{ones.gpu, n, ESP_F32}}, sums);
    kernels().add_sum_sq(*side, std::vector<NormPiece>{{twos.gpu, n, ESP_F32}}, sums + 1);
  }
  gpu_->sync(*side);
  const auto all = read(sums, 2);
  EXPECT_EQ(all[0], 50.0 * n);
  EXPECT_EQ(all[1], 200.0 * n);
}

TEST_F(KernelsOnAGpu, ANonFiniteValueReachesTheSum) {
  for (esp_dtype dtype : kDtypes) {
    std::vector<double> values(5000, 0.5);
    values[4321] = std::numeric_limits<double>::infinity();
    const Twin x = twin_of(values, dtype);
    double* sum = make<double>(1);
    kernels().add_sum_sq(compute(), std::vector<NormPiece>{{x.gpu, 5000, dtype}}, sum);
    EXPECT_TRUE(std::isinf(read(sum, 1)[0])) << name_of(dtype);
  }
}

TEST_F(KernelsOnAGpu, CopyAndZeroTouchTheirBytesOnlyBetweenAllPlaces) {
  const uint64_t bytes = (3 << 20) + 5;
  for (uint32_t from : {ESP_DEVICE, ESP_PINNED}) {
    for (uint32_t to : {ESP_DEVICE, ESP_PINNED}) {
      for (uint32_t kind : {ESP_STREAM_DEVICE, ESP_STREAM_CPU}) {
        auto stream = gpu_->create_stream(kind, 0, "side");
        auto* src = make<unsigned char>(bytes, from);
        auto* dst = make<unsigned char>(bytes, to);
        set(src, std::vector<unsigned char>(bytes, 9));
        set(dst, std::vector<unsigned char>(bytes, 1));
        kernels().copy(*stream, dst + 1, src + 3, bytes - 4);
        if (kind == ESP_STREAM_DEVICE || to == ESP_PINNED) kernels().zero(*stream, dst + 5, 3);
        gpu_->sync(*stream);
        auto want = std::vector<unsigned char>(bytes, 9);
        want.front() = want[bytes - 3] = want[bytes - 2] = want[bytes - 1] = 1;
        if (kind == ESP_STREAM_DEVICE || to == ESP_PINNED) want[5] = want[6] = want[7] = 0;
        EXPECT_EQ(read(dst, bytes), want) << from << " to " << to << " on " << kind;
      }
    }
  }
}

TEST_F(KernelsOnAGpu, QueuesOfTheCpuComputeInPinnedMemory) {
  auto queue = gpu_->create_stream(ESP_STREAM_CPU, 0, "queue");
  const Twin x = random(5003, ESP_F16, 1, ESP_PINNED), y = random(5003, ESP_F32, 1, ESP_PINNED);
  const Twin half = twin(5003 * 2, ESP_PINNED);
  both([&](Kernels& kernels, Stream& stream, auto at) {
    Stream& on = stream.index() == compute().index() && &stream == &compute() ? *queue : stream;
    kernels.axpby(on, 5003, 2, nullptr, at(x), ESP_F16, 0.5f, nullptr, at(y), ESP_F32);
    kernels.convert(on, at(half), ESP_F16, at(y), ESP_F32, 5003);
  });
  gpu_->sync(*queue);
  EXPECT_EQ(difference(y), kNone);
  EXPECT_EQ(difference(half), kNone);
}

TEST_F(KernelsOnAGpu, ScalarsGiveTheBitsOfTheCpu) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<double> start{4, 3, 0.1, inf, 1, -7.3};
  const std::vector<esp_sop> ops{
      {ESP_SOP_SQRT, 2, 1, 0, 0}, {ESP_SOP_ADD, 2, 2, 5, 0},           {ESP_SOP_MUL, 2, 2, ESP_SOP_IMM, 0.3f},
      {ESP_SOP_SUB, 0, 2, 1, 0},  {ESP_SOP_DIV, 1, 0, ESP_SOP_IMM, 7}, {ESP_SOP_MAX, 2, 2, 0, 0},
      {ESP_SOP_MIN, 5, 5, 1, 0},  {ESP_SOP_FINITE, 4, 3, 0, 0},        {ESP_SOP_SELECT, 4, 0, 1, 0},
      {ESP_SOP_SET, 3, 2, 0, 0}};
  const Twin values = twin_of(start, ESP_F32);
  both([&](Kernels& kernels, Stream& stream, auto at) {
    std::vector<float*> regs;
    for (size_t i = 0; i < start.size(); ++i) {
      regs.push_back(at.template operator()<float>(values, i * sizeof(float)));
    }
    kernels.scalars(stream, ops, regs);
  });
  EXPECT_EQ(difference(values), kNone);
  EXPECT_NE(read(static_cast<float*>(values.gpu), 1)[0], 4);
}

TEST_F(KernelsOnAGpu, ScalarsTakeAsManyOperationsAndRegistersAsTheAbiSays) {
  const Twin values = twin_of(std::vector<double>(250, 1.0), ESP_F32);
  std::vector<float*> regs;
  for (uint32_t i = 0; i < 250; ++i) regs.push_back(static_cast<float*>(values.gpu) + i);
  std::vector<esp_sop> ops;
  for (uint32_t i = 0; i < 32; ++i) ops.push_back({ESP_SOP_ADD, 249, static_cast<uint8_t>(249 - i), ESP_SOP_IMM, 2});
  kernels().scalars(compute(), ops, regs);
  EXPECT_EQ(read(regs[249], 1)[0], 3);
}

TEST_F(KernelsOnAGpu, ANanWinsMaximumAndMinimum) {
  const Twin values = twin_of({std::nan(""), 1, 0, 0}, ESP_F32);
  std::vector<float*> regs;
  for (int i = 0; i < 4; ++i) regs.push_back(static_cast<float*>(values.gpu) + i);
  kernels().scalars(compute(), std::vector<esp_sop>{{ESP_SOP_MAX, 2, 0, 1, 0}, {ESP_SOP_MIN, 3, 1, 0, 0}}, regs);
  const auto result = read(regs[0], 4);
  EXPECT_TRUE(std::isnan(result[2]));
  EXPECT_TRUE(std::isnan(result[3]));
}

}  // namespace
}  // namespace esp::runtime::test
