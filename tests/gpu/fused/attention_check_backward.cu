#include "attention_check.hpp"

namespace esp::vit::fused::test {
namespace {

struct PlainGradients {
  std::vector<float> dq, dk, dv;
};

// out: forward's, which backward reads. A query's dS add up to 0 and its dQ may cancel to a twentieth of what is added,
// so what the kernels make narrow is narrow here, too: out, P for dV, dS (before its scale) for dK and dQ. Then only
// sums in another order differ.
template <class T>
PlainGradients plain_gradients(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                               const std::vector<float>& out, const std::vector<float>& dout, int n) {
  const std::vector<float> p = plain_head(q, k, v, n).p;
  PlainGradients plain;
  for (std::vector<float>* of : {&plain.dq, &plain.dk, &plain.dv}) of->assign(static_cast<size_t>(n) * kWidth, 0);
  for (int i = 0; i < n; ++i) {
    const float delta = dot(&dout[i * kWidth], &out[i * kWidth]);
    for (int j = 0; j < n; ++j) {
      const float of = p[static_cast<size_t>(i) * n + j];
      const float ds = wide(narrow<T>(of * (dot(&dout[i * kWidth], &v[j * kWidth]) - delta))) * 0.125f;
      add(&plain.dq[i * kWidth], ds, &k[j * kWidth]);
      add(&plain.dk[j * kWidth], ds, &q[i * kWidth]);
      add(&plain.dv[j * kWidth], wide(narrow<T>(of)), &dout[i * kWidth]);
    }
  }
  return plain;
}

// What backward reads and writes of one input.
template <class T>
struct BackwardCase {
  BackwardCase(const Size& of, const std::vector<T>& qkv, const std::vector<T>& dout)
      : size(of),
        input(widened(qkv)),
        gradient(widened(dout)),
        d_qkv(qkv),
        d_dout(dout),
        out(size.rows() * size.width()),
        lse(size.lse()),
        dqkv(size.rows() * size.width() * 3),
        partials(size.images * size.width() * 2) {
    cuda(cudaDeviceSynchronize(), "upload");
  }
  void run(const Launch& launch, const BackwardVariant& variant) {
    dqkv.poison(), partials.poison();
    variant.run(launch, size.shape(), d_qkv.get(), out.get(), lse.get(), d_dout.get(), dqkv.get(), partials.get());
    cuda(cudaStreamSynchronize(launch.stream), variant.name.c_str());
  }
  Size size;
  std::vector<float> input, gradient;
  DeviceArray<T> d_qkv, d_dout, out;
  DeviceArray<float> lse;
  Guarded<T> dqkv;
  Guarded<float> partials;
};

// Column sums of [rows][64], and of the absolute values.
void sums_of(const std::vector<float>& d, std::vector<float>& sums, std::vector<float>& sizes) {
  std::vector<double> sum(kWidth), absolute(kWidth);
  for (size_t i = 0; i < d.size(); ++i) {
    sum[i % kWidth] += d[i];
    absolute[i % kWidth] += std::fabs(static_cast<double>(d[i]));
  }
  sums.assign(sum.begin(), sum.end());
  sizes.assign(absolute.begin(), absolute.end());
}

// A head's partial sums, as shares of what was summed: they may cancel.
void same_sums(const std::string& what, const std::vector<float>& partials, size_t at, const std::vector<float>& d,
               double tolerance) {
  std::vector<float> sums, sizes, got(kWidth), wanted(kWidth);
  sums_of(d, sums, sizes);
  size_t bad = 0, first = 0;
  for (int i = 0; i < kWidth; ++i) {
    if (std::fabs(partials[at + i] - sums[i]) <= tolerance * sizes[i]) continue;
    if (bad++ == 0) first = i;
  }
  if (bad == 0) return;
  ++failures;
  std::printf("FAIL %s: %zu of %d off; column %zu is %.6g, not %.6g (of %.6g)\n", what.c_str(), bad, kWidth, first,
              partials[at + first], sums[first], sizes[first]);
}

struct PlainHead {
  int image, column;
  std::string name;
  PlainGradients gradients;
};

template <class T>
std::vector<PlainHead> plain_heads(const BackwardCase<T>& of, int most) {
  const Size& size = of.size;
  const int width = static_cast<int>(size.width());
  const std::vector<float> out = widened(of.out.host());
  std::vector<PlainHead> heads;
  for (const int head : sample_heads(size, most)) {
    const int image = head / size.heads, column = head % size.heads * kWidth;
    const auto part = [&](int which) { return head_of(of.input, size, image, which * width + column, 3 * width); };
    heads.push_back({image, column, " of head " + std::to_string(head),
                     plain_gradients<T>(part(0), part(1), part(2), head_of(out, size, image, column, width),
                                        head_of(of.gradient, size, image, column, width), size.tokens)});
  }
  return heads;
}

void check_gradients(const std::string& name, const Size& size, const std::vector<PlainHead>& heads,
                     const std::vector<float>& dqkv, const std::vector<float>& partials, double tolerance) {
  const int width = static_cast<int>(size.width());
  for (const PlainHead& head : heads) {
    const auto part = [&](int which) {
      return head_of(dqkv, size, head.image, which * width + head.column, 3 * width);
    };
    same(name + " dV (reads P, dO)" + head.name, part(2), head.gradients.dv, kWidth, tolerance);
    same(name + " dK (reads dS, Q)" + head.name, part(1), head.gradients.dk, kWidth, tolerance);
    same(name + " dQ (reads dS across, K)" + head.name, part(0), head.gradients.dq, kWidth, tolerance);
    const size_t at = static_cast<size_t>(head.image) * 2 * width + head.column;
    same_sums(name + " sums of dQ" + head.name, partials, at, head.gradients.dq, tolerance);
    same_sums(name + " sums of dV" + head.name, partials, at + width, head.gradients.dv, tolerance);
  }
}

// All variants on one input: sampled heads against the plain computation, all of them against mma.sync.
template <class T>
void check_backward(const Launch& launch, const std::vector<BackwardVariant>& variants, const Size& size,
                    const std::vector<T>& qkv, const std::vector<T>& dout, const std::string& what) {
  BackwardCase<T> of(size, qkv, dout);
  forward_by_warps(launch, size.shape(), of.d_qkv.get(), of.out.get(), of.lse.get());
  cuda(cudaStreamSynchronize(launch.stream), what.c_str());
  const std::vector<PlainHead> heads = plain_heads(of, 3);
  std::vector<float> first, first_partials;
  std::string line;
  const int width = static_cast<int>(size.width());
  for (const BackwardVariant& variant : variants) {
    if (!variant.takes(size)) continue;
    const std::string name = label<T>(size, variant.name, what.c_str());
    of.run(launch, variant);
    const std::vector<float> got = of.dqkv.host(name), sums = of.partials.host(name);
    check_gradients(name, size, heads, got, sums, Kind<T>::kError);
    if (first.empty()) {
      first = got, first_partials = sums;
      continue;
    }
    double error = 0, sums_error = 0;
    same(name + " dQKV", got, first, 3 * width, Kind<T>::kError, &error);
    same(name + " sums", sums, first_partials, 2 * width, Kind<T>::kError, &sums_error);
    char text[80];
    std::snprintf(text, sizeof text, "  %s %.1e/%.1e", variant.name.c_str(), error, sums_error);
    line += text;
    of.run(launch, variant);  // same inputs, same bits
    same(name + " dQKV, again", of.dqkv.host(name), got, 3 * width, 0);
    same(name + " sums, again", of.partials.host(name), sums, 2 * width, 0);
  }
  std::printf("%s %dx%dx%d %s: dQKV/sums%s\n", Kind<T>::kName, size.images, size.tokens, size.heads, what.c_str(),
              line.c_str());
}

// Inputs whose gradients show one product's operand each.
template <class T>
void check_backward_structured(const Launch& launch, const std::vector<BackwardVariant>& variants, const Size& size) {
  const auto varied = [](int row, int column, int by) {
    return static_cast<float>((row * 7 + column * 5 + by * 3) % 11 - 5) * 0.3f;
  };
  const auto random = values<T>(size.rows() * size.width(), 23);
  const auto gradient = [&](const std::function<float(int, int)>& value) {
    std::vector<T> out;
    for (size_t row = 0; row < size.rows(); ++row) {
      for (size_t c = 0; c < size.width(); ++c) {
        out.push_back(narrow<T>(value(static_cast<int>(row % size.tokens), static_cast<int>(c % kWidth))));
      }
    }
    return out;
  };
  for (int begin = 0; begin < size.tokens; begin += kWidth) {
    const std::string from = " from " + std::to_string(begin);
    const auto shows = [begin](int row, int column) { return row - begin == column ? 1.0f : 0.0f; };
    check_backward<T>(launch, variants, size,
                      made_of<T>(size, [&](int which, int row, int column) { return varied(row, column, which); }),
                      gradient(shows), "dV shows P of queries" + from);
    check_backward<T>(launch, variants, size,
                      made_of<T>(size,
                                 [&](int which, int row, int column) {
                                   return which == 0 ? shows(row, column) : which == 1 ? 0.0f : varied(row, column, 2);
                                 }),
                      random, "dK shows dS of queries" + from);
    check_backward<T>(launch, variants, size,
                      made_of<T>(size,
                                 [&](int which, int row, int column) {
                                   return which == 0 ? 0.0f : which == 1 ? shows(row, column) : varied(row, column, 2);
                                 }),
                      random, "dQ shows dS of keys" + from);
  }
}

template <class T>
void check_backward_random(const Launch& launch, const std::vector<BackwardVariant>& variants, const Size& size,
                           float scale, const char* what) {
  check_backward<T>(launch, variants, size, values<T>(size.rows() * size.width() * 3, 21, scale),
                    values<T>(size.rows() * size.width(), 22), what);
}

}  // namespace

template <class T>
void check_backward_all(const Launch& launch, bool wgmma) {
  const std::vector<BackwardVariant> variants = backward_variants(wgmma);
  check_backward_structured<T>(launch, variants, {1, 197, 1});
  check_backward_structured<T>(launch, variants, {1, 77, 1});
  for (const Size& size : {Size{2, 65, 1}, Size{3, 128, 2}, Size{1, 193, 1}, Size{2, 197, 2}, Size{2, 200, 3},
                           Size{3, 208, 3}, Size{12, 197, 12}, Size{170, 130, 3}, Size{43, 197, 12}}) {
    check_backward_random<T>(launch, variants, size, 1, "random");
  }
  check_backward_random<T>(launch, variants, {2, 197, 3}, 4, "sharp");
  Launch two = launch;  // two blocks walk over many heads
  two.processors = 2;
  check_backward_random<T>(two, variants, {3, 197, 3}, 1, "random, two blocks");
  check_backward_random<T>(two, variants, {5, 208, 2}, 1, "random, two blocks");
}

template <class T>
void check_backward_small(const Launch& launch, bool wgmma) {
  check_backward_random<T>(launch, backward_variants(wgmma), {2, 197, 2}, 1, "small");
}

template void check_backward_all<__nv_bfloat16>(const Launch&, bool);
template void check_backward_all<__half>(const Launch&, bool);
template void check_backward_small<__nv_bfloat16>(const Launch&, bool);
template void check_backward_small<__half>(const Launch&, bool);

}  // namespace esp::vit::fused::test
