// attention_check: the attention kernels by wgmma beside those by mma.sync and a plain computation, on a machine with a
// GPU. Says where a result is wrong, not only that it is, and how long each kernel takes. Ends with 0 when all is
// right.
#include <algorithm>
#include <cstring>
#include <functional>

#include "attention.cuh"
#include "support.hpp"

namespace esp::vit::fused::test {
namespace {

constexpr int kWidth = 64;  // of a head

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

int failures = 0;

// A device array with room behind it that must stay as it is, all of it poisoned.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t n) : n_(n), all_(n + kGuard) {}
  T* get() const { return all_.get(); }
  void poison() const { cuda(cudaMemset(all_.get(), 0xff, (n_ + kGuard) * sizeof(T)), "poison"); }
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
std::vector<float> head_of(const std::vector<float>& all, const Size& size, int image, int column, size_t stride) {
  std::vector<float> out;
  for (int r = 0; r < size.tokens; ++r) {
    const size_t at = (static_cast<size_t>(image) * size.tokens + r) * stride + column;
    out.insert(out.end(), all.begin() + at, all.begin() + at + kWidth);
  }
  return out;
}

// Compares [rows][columns]; prints one line when it differs: how many, in which rows and columns, the first of them.
bool same(const std::string& what, const std::vector<float>& got, const std::vector<float>& wanted, int columns,
          double tolerance, double* error = nullptr) {
  double difference = 0, norm = 0, largest = 0;
  for (const float w : wanted) {
    norm += static_cast<double>(w) * w;
    largest = std::max(largest, std::fabs(static_cast<double>(w)));
  }
  size_t bad = 0, first = 0;
  int rows[2] = {1 << 30, -1}, cols[2] = {1 << 30, -1};
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double d = std::fabs(static_cast<double>(got[i]) - wanted[i]);
    difference += d * d;
    if (d <= 8 * tolerance * std::fabs(wanted[i]) + tolerance * largest) continue;
    if (bad++ == 0) first = i;
    const int r = static_cast<int>(i / columns), c = static_cast<int>(i % columns);
    rows[0] = std::min(rows[0], r), rows[1] = std::max(rows[1], r);
    cols[0] = std::min(cols[0], c), cols[1] = std::max(cols[1], c);
  }
  const double relative = norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
  if (error != nullptr) *error = relative;
  if (bad == 0 && relative <= tolerance) return true;
  ++failures;
  std::printf("FAIL %s: error %.2e (limit %.0e)", what.c_str(), relative, tolerance);
  if (bad > 0) {  // where, and around the first: what is there, and what should be
    std::printf(", %zu of %zu off, rows %d-%d, columns %d-%d; (%zu, %zu) is %.6g, not %.6g", bad, wanted.size(),
                rows[0], rows[1], cols[0], cols[1], first / columns, first % columns, got[first], wanted[first]);
    std::printf(" |");
    for (size_t i = first; i < std::min(first + 4, wanted.size()); ++i) std::printf(" %.4g", got[i]);
    std::printf(" | wanted");
    for (size_t i = first; i < std::min(first + 4, wanted.size()); ++i) std::printf(" %.4g", wanted[i]);
  }
  std::printf("\n");
  return false;
}

// ---- the plain computation of one head, in fp32 with the kernels' narrow inputs ----

float dot(const float* a, const float* b) {
  float sum[8] = {};
  for (int i = 0; i < kWidth; ++i) sum[i % 8] += a[i] * b[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void add(float* to, float by, const float* from) {
  for (int i = 0; i < kWidth; ++i) to[i] += by * from[i];
}

struct Plain {
  std::vector<float> p, out, lse;
};

Plain plain_head(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v, int n) {
  Plain plain;
  plain.p.resize(static_cast<size_t>(n) * n), plain.lse.resize(n);
  plain.out.assign(static_cast<size_t>(n) * kWidth, 0);
  for (int i = 0; i < n; ++i) {
    float* p = &plain.p[static_cast<size_t>(i) * n];
    float top = -INFINITY;
    double sum = 0;
    for (int j = 0; j < n; ++j) top = std::max(top, p[j] = dot(&q[i * kWidth], &k[j * kWidth]) * 0.125f);
    for (int j = 0; j < n; ++j) sum += p[j] = std::exp(p[j] - top);
    plain.lse[i] = static_cast<float>(top * 1.4426950408889634 + std::log2(sum));
    for (int j = 0; j < n; ++j) {
      p[j] = static_cast<float>(p[j] / sum);
      add(&plain.out[i * kWidth], p[j], &v[j * kWidth]);
    }
  }
  return plain;
}

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

// ---- forward ----

using ForwardKernel = std::function<void(const Launch&, const AttentionShape&, const void*, void*, float*)>;
struct ForwardVariant {
  std::string name;
  std::function<bool(const Size&)> takes;
  ForwardKernel run;
};

std::vector<ForwardVariant> forward_variants(bool wgmma) {
  std::vector<ForwardVariant> out{{"mma", [](const Size&) { return true; }, forward_by_warps}};
  if (!wgmma) return out;
  for (const int groups : {1, 4}) {
    out.push_back({"wgmma" + std::to_string(groups),
                   [groups](const Size& size) {
                     const bool close = size.tokens > 192 && size.tokens <= 200;
                     return wgmma::takes_forward(size.shape()) && (close || groups == 1);
                   },
                   [groups](const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse) {
                     wgmma::forward(launch, shape, qkv, out, lse, groups);
                   }});
  }
  return out;
}

template <class T>
std::string label(const Size& size, const std::string& variant, const char* what) {
  return std::string(Kind<T>::kName) + " " + std::to_string(size.images) + "x" + std::to_string(size.tokens) + "x" +
         std::to_string(size.heads) + " " + variant + " " + what;
}

std::vector<int> sample_heads(const Size& size, int most) {
  std::vector<int> heads;
  for (int i = 0; i < std::min(most, size.all()); ++i) {
    heads.push_back(
        static_cast<int>(static_cast<int64_t>(i) * (size.all() - 1) / std::max(1, std::min(most, size.all()) - 1)));
  }
  return heads;
}

template <class T>
std::vector<float> widened(const std::vector<T>& from) {
  std::vector<float> out(from.size());
  for (size_t i = 0; i < from.size(); ++i) out[i] = wide(from[i]);
  return out;
}

// All variants on one input: sampled heads against the plain computation, all of them against mma.sync.
template <class T>
void check_forward(const Launch& launch, const std::vector<ForwardVariant>& variants, const Size& size,
                   const std::vector<T>& qkv, const char* what) {
  const std::vector<float> input = widened(qkv);
  DeviceArray<T> d_qkv(qkv);
  Guarded<T> out(size.rows() * size.width());
  Guarded<float> lse(size.lse());
  std::vector<float> first_out, first_lse;
  const int width = static_cast<int>(size.width());
  std::string line;
  for (const ForwardVariant& variant : variants) {
    if (!variant.takes(size)) continue;
    const std::string name = label<T>(size, variant.name, what);
    out.poison(), lse.poison();
    variant.run(launch, size.shape(), d_qkv.get(), out.get(), lse.get());
    cuda(cudaStreamSynchronize(launch.stream), name.c_str());
    const std::vector<float> got = out.host(name), got_lse = lse.host(name);
    if (first_out.empty()) {
      first_out = got, first_lse = got_lse;
      for (const int head : sample_heads(size, 6)) {
        const int image = head / size.heads, column = head % size.heads * kWidth;
        const Plain plain = plain_head(head_of(input, size, image, column, 3 * width),
                                       head_of(input, size, image, width + column, 3 * width),
                                       head_of(input, size, image, 2 * width + column, 3 * width), size.tokens);
        const std::vector<float> of_lse(got_lse.begin() + static_cast<size_t>(head) * size.tokens,
                                        got_lse.begin() + static_cast<size_t>(head + 1) * size.tokens);
        same(name + " out of head " + std::to_string(head), head_of(got, size, image, column, width), plain.out, kWidth,
             2 * Kind<T>::kError);
        same(name + " lse of head " + std::to_string(head), of_lse, plain.lse, size.tokens, 1e-4);
      }
      continue;
    }
    double error = 0, lse_error = 0;
    same(name + " out", got, first_out, width, Kind<T>::kError, &error);
    same(name + " lse", got_lse, first_lse, size.tokens, 1e-5, &lse_error);
    char text[80];
    std::snprintf(text, sizeof text, "  %s %.1e/%.1e", variant.name.c_str(), error, lse_error);
    line += text;
    // Same inputs, same bits.
    out.poison(), lse.poison();
    variant.run(launch, size.shape(), d_qkv.get(), out.get(), lse.get());
    cuda(cudaStreamSynchronize(launch.stream), name.c_str());
    same(name + " out, again", out.host(name), got, width, 0);
    same(name + " lse, again", lse.host(name), got_lse, size.tokens, 0);
  }
  std::printf("%s %dx%dx%d %s: out/lse%s\n", Kind<T>::kName, size.images, size.tokens, size.heads, what, line.c_str());
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

// Inputs whose results show which operand is read wrongly.
template <class T>
void check_forward_structured(const Launch& launch, const std::vector<ForwardVariant>& variants, const Size& size) {
  // All probabilities equal: out is the mean of the values, only their reading matters.
  check_forward<T>(
      launch, variants, size,
      made_of<T>(size,
                 [](int which, int row, int column) {
                   return which < 2 ? 0.0f : static_cast<float>(row % 13) + 16.0f * static_cast<float>(column % 7);
                 }),
      "q = k = 0: reads V");
  // Each query means one key: out is that key's value.
  check_forward<T>(launch, variants, size,
                   made_of<T>(size,
                              [](int which, int row, int column) {
                                const float bit = (row >> (column % 8) & 1) != 0 ? 6.0f : -6.0f;
                                return which < 2 ? bit
                                                 : static_cast<float>(row % 16) * 4 + static_cast<float>(column % 4);
                              }),
                   "one key each: reads Q, K");
  // out shows the probabilities of 64 keys at a time.
  for (int begin = 0; begin < size.tokens; begin += kWidth) {
    const std::string what = "shows P of keys from " + std::to_string(begin);
    check_forward<T>(launch, variants, size,
                     made_of<T>(size,
                                [begin](int which, int row, int column) {
                                  if (which == 2) return row - begin == column ? 1.0f : 0.0f;
                                  return static_cast<float>((row * 7 + column * 5 + which * 3) % 11 - 5) * 0.3f;
                                }),
                     what.c_str());
  }
}

template <class T>
void check_forward_all(const Launch& launch, bool wgmma) {
  const std::vector<ForwardVariant> variants = forward_variants(wgmma);
  check_forward_structured<T>(launch, variants, {1, 197, 1});
  check_forward_structured<T>(launch, variants, {1, 77, 1});
  for (const Size& size :
       {Size{1, 5, 1}, Size{1, 64, 1}, Size{2, 65, 1}, Size{1, 127, 3}, Size{3, 128, 2}, Size{1, 193, 1},
        Size{2, 197, 2}, Size{2, 200, 3}, Size{3, 208, 3}, Size{32, 197, 12}, Size{43, 197, 12}, Size{170, 130, 3}}) {
    const auto qkv = values<T>(size.rows() * size.width() * 3, 16, 1.0f);
    check_forward<T>(launch, variants, size, qkv, "random");
  }
  const Size size{2, 197, 3};
  check_forward<T>(launch, variants, size, values<T>(size.rows() * size.width() * 3, 17, 4.0f), "sharp");
}

// ---- backward ----

using BackwardKernel = std::function<void(const Launch&, const AttentionShape&, const void*, const void*, const float*,
                                          const void*, void*, float*)>;
struct BackwardVariant {
  std::string name;
  std::function<bool(const Size&)> takes;
  BackwardKernel run;
};

std::vector<BackwardVariant> backward_variants(bool wgmma) {
  std::vector<BackwardVariant> out{{"mma", [](const Size&) { return true; }, backward_by_warps}};
  if (!wgmma) return out;
  out.push_back({"wgmma", [](const Size& size) { return wgmma::takes_backward(size.shape()); }, wgmma::backward});
  return out;
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
        partials(size.images * size.width() * 2) {}
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
void check_small(Launch launch, bool wgmma) {
  launch.processors = 2;
  const Size size{2, 197, 2};
  check_forward<T>(launch, forward_variants(wgmma), size, values<T>(size.rows() * size.width() * 3, 16), "small");
  check_backward_random<T>(launch, backward_variants(wgmma), size, 1, "small");
}

// ---- time ----

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

// Microseconds of each, measured in turns so that the clock treats all alike.
std::vector<double> time_of(cudaStream_t stream, const std::vector<std::function<void()>>& jobs, int repeats) {
  cudaEvent_t begin, end;
  cuda(cudaEventCreate(&begin), "event");
  cuda(cudaEventCreate(&end), "event");
  std::vector<std::vector<double>> all(jobs.size());
  for (int round = 0; round < 7; ++round) {
    for (size_t i = 0; i < jobs.size(); ++i) {
      jobs[i]();
      cuda(cudaEventRecord(begin, stream), "event");
      for (int r = 0; r < repeats; ++r) jobs[i]();
      cuda(cudaEventRecord(end, stream), "event");
      cuda(cudaEventSynchronize(end), "timing");
      float ms = 0;
      cuda(cudaEventElapsedTime(&ms, begin, end), "event");
      all[i].push_back(ms * 1e3 / repeats);
    }
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::vector<double> out;
  for (const auto& of : all) out.push_back(median(of));
  return out;
}

template <class T>
void time_forward(const Launch& launch, bool wgmma) {
  for (const int images : {8, 32, 128, 256}) {
    const Size size{images, 197, 12};
    DeviceArray<T> qkv(values<T>(size.rows() * size.width() * 3, 18)), out(size.rows() * size.width());
    DeviceArray<float> lse(size.lse());
    std::vector<std::function<void()>> jobs;
    const std::vector<ForwardVariant> variants = forward_variants(wgmma);
    for (const ForwardVariant& variant : variants) {
      jobs.push_back([&, run = variant.run] { run(launch, size.shape(), qkv.get(), out.get(), lse.get()); });
    }
    const std::vector<double> us = time_of(launch.stream, jobs, images <= 32 ? 40 : 15);
    std::printf("forward %s b%-3d us a layer:", Kind<T>::kName, images);
    for (size_t i = 0; i < variants.size(); ++i) std::printf("  %s %.1f", variants[i].name.c_str(), us[i]);
    // Reads q, k, v and writes out, at the 3.0 TB/s that an H100 copies with.
    std::printf("  (traffic alone %.1f)\n", static_cast<double>(size.rows() * size.width()) * 4 * 2 / 3.0e6);
  }
}

template <class T>
void time_backward(const Launch& launch, bool wgmma) {
  for (const int images : {8, 32, 128, 256}) {
    const Size size{images, 197, 12};
    const size_t all = size.rows() * size.width();
    DeviceArray<T> qkv(values<T>(all * 3, 18)), dout(values<T>(all, 19)), out(all), dqkv(all * 3);
    DeviceArray<float> lse(size.lse()), partials(size.images * size.width() * 2);
    forward_by_warps(launch, size.shape(), qkv.get(), out.get(), lse.get());
    std::vector<std::function<void()>> jobs;
    const std::vector<BackwardVariant> variants = backward_variants(wgmma);
    for (const BackwardVariant& variant : variants) {
      jobs.push_back([&, run = variant.run] {
        run(launch, size.shape(), qkv.get(), out.get(), lse.get(), dout.get(), dqkv.get(), partials.get());
      });
    }
    const std::vector<double> us = time_of(launch.stream, jobs, images <= 32 ? 40 : 15);
    std::printf("backward %s b%-3d us a layer:", Kind<T>::kName, images);
    for (size_t i = 0; i < variants.size(); ++i) std::printf("  %s %.1f", variants[i].name.c_str(), us[i]);
    // Reads q, k, v, out, dout and writes dq, dk, dv.
    std::printf("  (traffic alone %.1f)\n", static_cast<double>(all) * 8 * 2 / 3.0e6);
  }
}

// Parts: forward, backward (each checked and timed), time (both), small (for compute-sanitizer); all: all but small.
template <class T>
void run_all(Launch launch, const std::string& part, bool wgmma) {
  launch.half = Kind<T>::kHalf;
  prepare_attention(launch.half);
  if (part == "small") return check_small<T>(launch, wgmma);
  const bool forward = part != "backward", backward = part != "forward";
  if (part != "time" && forward) check_forward_all<T>(launch, wgmma);
  if (part != "time" && backward) check_backward_all<T>(launch, wgmma);
  if (!std::is_same_v<T, __nv_bfloat16>) return;
  if (forward) time_forward<T>(launch, wgmma);
  if (backward) time_backward<T>(launch, wgmma);
}

}  // namespace
}  // namespace esp::vit::fused::test

int main(int argc, char** argv) {
  using namespace esp::vit::fused;
  const std::string part = argc > 1 ? argv[1] : "all";
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no GPU");
    return 77;
  }
  Launch launch{nullptr, Half::kBf16, 0};
  test::cuda(cudaStreamCreateWithFlags(&launch.stream, cudaStreamNonBlocking), "stream");
  test::cuda(cudaDeviceGetAttribute(&launch.processors, cudaDevAttrMultiProcessorCount, 0), "device");
  const bool has = wgmma::has_products();
  std::printf("wgmma: %s\n", has ? "yes" : "no");
  test::run_all<__nv_bfloat16>(launch, part, has);
  if (part != "time") test::run_all<__half>(launch, part, has);
  std::printf("%s: %d failures\n", test::failures == 0 ? "PASSED" : "FAILED", test::failures);
  return test::failures == 0 ? 0 : 1;
}
