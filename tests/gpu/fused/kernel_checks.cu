// Each kernel alone against a plain computation of the same thing.
#include <algorithm>

#include "kernels.hpp"
#include "matmul.hpp"
#include "support.hpp"

namespace esp::vit::fused::test {
namespace {

template <class T>
struct HalfOf;
template <>
struct HalfOf<__nv_bfloat16> {
  static constexpr Half kHalf = Half::kBf16;
  static constexpr double kError = 6e-3;  // of a result that was rounded once
  static constexpr const char* kName = "bf16 ";
};
template <>
struct HalfOf<__half> {
  static constexpr Half kHalf = Half::kFp16;
  static constexpr double kError = 8e-4;
  static constexpr const char* kName = "fp16 ";
};

template <class T>
struct Bench {
  Checks& checks;
  Launch launch;
  std::string name(const std::string& what) const { return HalfOf<T>::kName + what; }
  void sync(const char* what) const { cuda(cudaStreamSynchronize(launch.stream), what); }
};

template <class T>
void check_norm(const Bench<T>& bench, int rows, int width, int every) {
  const std::string what = bench.name("norm " + std::to_string(rows) + "x" + std::to_string(width));
  const auto n = static_cast<size_t>(rows) * static_cast<size_t>(width);
  const auto x = values<T>(n, 1, 2, 0.5f), gamma = values<T>(static_cast<size_t>(width), 2, 0.3f, 1),
             beta = values<T>(static_cast<size_t>(width), 3), dy = values<T>(n, 4);
  const int passing = (rows + every - 1) / every;
  const auto residual = values<T>(static_cast<size_t>(passing) * static_cast<size_t>(width), 5);
  std::vector<float> y(n), dx(n), sums(3 * static_cast<size_t>(width));
  std::vector<double> columns(3 * static_cast<size_t>(width));
  const double eps = 1e-6;
  for (int r = 0; r < rows; ++r) {
    const size_t base = static_cast<size_t>(r) * static_cast<size_t>(width);
    double mean = 0, var = 0, a = 0, b = 0;
    for (int j = 0; j < width; ++j) mean += wide(x[base + j]);
    mean /= width;
    for (int j = 0; j < width; ++j) var += (wide(x[base + j]) - mean) * (wide(x[base + j]) - mean);
    const double rstd = 1 / std::sqrt(var / width + eps);
    for (int j = 0; j < width; ++j) {
      const double unit = (wide(x[base + j]) - mean) * rstd;
      y[base + j] = static_cast<float>(unit * wide(gamma[j]) + wide(beta[j]));
      a += wide(dy[base + j]) * wide(gamma[j]);
      b += wide(dy[base + j]) * wide(gamma[j]) * unit;
      columns[j] += wide(dy[base + j]) * unit;
      columns[width + j] += wide(dy[base + j]);
    }
    for (int j = 0; j < width; ++j) {
      const double unit = (wide(x[base + j]) - mean) * rstd;
      double d = (wide(dy[base + j]) * wide(gamma[j]) - a / width - unit * b / width) * rstd;
      if (r % every == 0) d += wide(residual[static_cast<size_t>(r / every) * width + j]);
      dx[base + j] = static_cast<float>(d);
      columns[2 * width + j] += d;
    }
  }
  for (size_t i = 0; i < columns.size(); ++i) sums[i] = static_cast<float>(columns[i]);

  DeviceArray<T> d_x(x), d_gamma(gamma), d_beta(beta), d_y(n), d_dy(dy), d_residual(residual), d_dx(n);
  DeviceArray<float2> moments(static_cast<size_t>(rows));
  const int partial_rows = norm_backward_partials(bench.launch.processors);
  DeviceArray<float> partials(static_cast<size_t>(partial_rows) * 3 * width), total(3 * static_cast<size_t>(width));
  norm_forward(bench.launch, rows, width, width, static_cast<float>(eps), d_x.get(), d_gamma.get(), d_beta.get(),
               d_y.get(), moments.get());
  bench.sync("norm forward");
  bench.checks.close(what + " y", d_y.host(), y, HalfOf<T>::kError);
  norm_backward(bench.launch, {rows, width, d_dy.get(), d_x.get(), moments.get(), d_gamma.get(), d_residual.get(),
                               every, d_dx.get(), partials.get()});
  SumTask task{partials.get(), total.get(), partial_rows, 3 * width, 3 * width, Sum::kFloat, false};
  sum_columns(bench.launch, &task, 1);
  bench.sync("norm backward");
  bench.checks.close(what + " dx", d_dx.host(), dx, HalfOf<T>::kError);
  bench.checks.close(what + " column sums", total.host(), sums, 1e-4);
}

template <class T>
void check_gelu(const Bench<T>& bench, int rows, int width) {
  const std::string what = bench.name("GELU " + std::to_string(rows) + "x" + std::to_string(width));
  const auto n = static_cast<size_t>(rows) * static_cast<size_t>(width);
  const auto u = values<T>(n, 6, 2), dg = values<T>(n, 7);
  std::vector<float> g(n), du(n), sums(static_cast<size_t>(width));
  std::vector<double> columns(static_cast<size_t>(width));
  for (size_t i = 0; i < n; ++i) {
    const double x = wide(u[i]), phi = 0.5 * std::erfc(-x / std::sqrt(2.0));
    g[i] = static_cast<float>(x * phi);
    const double d = wide(dg[i]) * (phi + x * std::exp(-x * x / 2) * 0.3989422804014327);
    du[i] = static_cast<float>(d);
    columns[i % static_cast<size_t>(width)] += d;
  }
  for (size_t i = 0; i < columns.size(); ++i) sums[i] = static_cast<float>(columns[i]);
  DeviceArray<T> d_u(u), d_g(n), d_du(dg), d_again(n);
  const int partial_rows = gelu_backward_partials(bench.launch.processors, rows, width);
  DeviceArray<float> partials(static_cast<size_t>(partial_rows) * width), total(static_cast<size_t>(width));
  gelu_forward(bench.launch, static_cast<int64_t>(n), d_u.get(), d_g.get());
  gelu_backward(bench.launch, rows, width, d_u.get(), d_du.get(), d_again.get(), partials.get());
  SumTask task{partials.get(), total.get(), partial_rows, width, width, Sum::kFloat, false};
  sum_columns(bench.launch, &task, 1);
  bench.sync("GELU");
  bench.checks.close(what + " g", d_g.host(), g, HalfOf<T>::kError);
  bench.checks.close(what + " du", d_du.host(), du, HalfOf<T>::kError);
  bench.checks.close(what + " column sums", total.host(), sums, 1e-4);
  std::vector<float> first;
  for (const T value : d_g.host()) first.push_back(wide(value));
  bench.checks.close(what + " g again", d_again.host(), first, 0);
}

template <class T>
void check_sums(const Bench<T>& bench) {
  const int rows = 37, width = 70, stride = 100;
  const auto src = values<float>(rows * stride, 8);
  std::vector<float> once(width), twice(width), zero(width);
  for (int j = 0; j < width; ++j) {
    double sum = 0;
    for (int r = 0; r < rows; ++r) sum += src[r * stride + j];
    once[j] = static_cast<float>(sum);
    twice[j] = static_cast<float>(2 * sum);
  }
  DeviceArray<float> d_src(src), d_float(width);
  DeviceArray<T> d_half(width), d_zero(width);
  SumTask tasks[3] = {{d_src.get(), d_float.get(), rows, stride, width, Sum::kFloat, false},
                      {d_src.get(), d_half.get(), rows, stride, width, Sum::kHalf, false},
                      {nullptr, d_zero.get(), 0, 0, width, Sum::kHalf, false}};
  sum_columns(bench.launch, tasks, 3);
  bench.sync("column sums");
  bench.checks.close(bench.name("sums float"), d_float.host(), once, 1e-5);
  bench.checks.close(bench.name("sums half"), d_half.host(), once, HalfOf<T>::kError);
  bench.checks.close(bench.name("sums zero"), d_zero.host(), zero, 0);
  for (SumTask& task : tasks) task.add = true;
  sum_columns(bench.launch, tasks, 3);
  bench.sync("column sums");
  bench.checks.close(bench.name("sums float, added"), d_float.host(), twice, 1e-5);
  bench.checks.close(bench.name("sums half, added"), d_half.host(), twice, 2 * HalfOf<T>::kError);

  const auto a = values<T>(8 * 1000, 9), b = values<T>(16, 10);
  DeviceArray<T> d_a(a), d_b(b), d_to(8 * 1000 + 16);
  CopyTask copy{{d_a.get(), d_b.get()}, {d_to.get(), d_to.get() + 8 * 1000}, {8 * 1000, 16}, 2};
  copy_halves(bench.launch, copy);
  bench.sync("copies");
  std::vector<float> both;
  for (const T value : a) both.push_back(wide(value));
  for (const T value : b) both.push_back(wide(value));
  bench.checks.close(bench.name("copies"), d_to.host(), both, 0);
}

template <class T>
void check_embedding(const Bench<T>& bench, int images, int side, int patch, int width) {
  const std::string what = bench.name("embedding patch " + std::to_string(patch));
  const int grid = side / patch, tokens = grid * grid + 1, area = patch * patch;
  Random random(11);
  std::vector<uint8_t> pixels(static_cast<size_t>(images) * side * side * 3), flip(static_cast<size_t>(images));
  for (uint8_t& p : pixels) p = static_cast<uint8_t>(random.next());
  for (size_t i = 0; i < flip.size(); ++i) flip[i] = i % 2;
  const PixelMap map{{2 / 255.f, 3 / 255.f, 4 / 255.f}, {-1, -0.5f, -2}};
  std::vector<float> wanted(static_cast<size_t>(images) * tokens * 3 * area);
  for (int b = 0; b < images; ++b) {
    for (int t = 1; t < tokens; ++t) {
      for (int c = 0; c < 3; ++c) {
        for (int i = 0; i < area; ++i) {
          const int y = (t - 1) / grid * patch + i / patch;
          int x = (t - 1) % grid * patch + i % patch;
          if (flip[b] != 0) x = side - 1 - x;
          wanted[((static_cast<size_t>(b) * tokens + t) * 3 + c) * area + i] =
              pixels[((static_cast<size_t>(b) * side + y) * side + x) * 3 + c] * map.scale[c] + map.shift[c];
        }
      }
    }
  }
  DeviceArray<uint8_t> d_pixels(pixels), d_flip(flip);
  DeviceArray<T> patches(wanted.size());
  gather_patches(bench.launch, {images, side, patch}, map, d_pixels.get(), d_flip.get(), patches.get());
  bench.sync("patches");
  bench.checks.close(what + " patches", patches.host(), wanted, HalfOf<T>::kError);

  const auto n = static_cast<size_t>(images) * tokens * width;
  const auto x = values<T>(n, 12), position = values<T>(static_cast<size_t>(tokens) * width, 13),
             cls = values<T>(static_cast<size_t>(width), 14), bias = values<T>(static_cast<size_t>(width), 15);
  std::vector<float> sum(n), over(static_cast<size_t>(tokens) * width);
  for (size_t i = 0; i < n; ++i) {
    const size_t j = i % width, t = i / width % tokens;
    sum[i] = wide(x[i]) + wide(position[t * width + j]) + (t == 0 ? wide(cls[j]) : wide(bias[j]));
    over[t * width + j] += wide(x[i]);
  }
  DeviceArray<T> d_x(x), d_position(position), d_cls(cls), d_bias(bias);
  DeviceArray<float> sums(over.size());
  sum_images(bench.launch, images, tokens, width, d_x.get(), sums.get());
  embed(bench.launch, images, tokens, width, d_position.get(), d_cls.get(), d_bias.get(), d_x.get());
  bench.sync("embedding");
  bench.checks.close(what + " sum", d_x.host(), sum, HalfOf<T>::kError);
  bench.checks.close(what + " over images", sums.host(), over, 1e-5);
}

// Attention in fp32, a thread for a query (or, in backward, then for a key). qkv [B, N, 3, H, 64].
__global__ void plain_forward(int n, int heads, const float* qkv, float* p, float* out) {
  const int q = blockIdx.x, h = blockIdx.y, b = blockIdx.z, d = threadIdx.x, width = heads * 64;
  extern __shared__ float score[];
  const float* row = qkv + (static_cast<int64_t>(b) * n + q) * 3 * width + h * 64;
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    const float* key = qkv + (static_cast<int64_t>(b) * n + k) * 3 * width + width + h * 64;
    float s = 0;
    for (int i = 0; i < 64; ++i) s += row[i] * key[i];
    score[k] = s * 0.125f;
  }
  __syncthreads();
  float top = -INFINITY, sum = 0;
  for (int k = 0; k < n; ++k) top = fmaxf(top, score[k]);
  for (int k = 0; k < n; ++k) sum += expf(score[k] - top);
  float o = 0;
  for (int k = 0; k < n; ++k) {
    const float w = expf(score[k] - top) / sum;
    if (d == 0) p[((static_cast<int64_t>(b) * heads + h) * n + q) * n + k] = w;
    o += w * qkv[(static_cast<int64_t>(b) * n + k) * 3 * width + 2 * width + h * 64 + d];
  }
  out[(static_cast<int64_t>(b) * n + q) * width + h * 64 + d] = o;
}

__global__ void plain_scores(int n, int heads, const float* qkv, const float* p, const float* out, const float* dout,
                             float* ds) {
  const int q = blockIdx.x, h = blockIdx.y, b = blockIdx.z, width = heads * 64;
  const int64_t row = (static_cast<int64_t>(b) * n + q) * width + h * 64;
  float delta = 0;
  for (int i = 0; i < 64; ++i) delta += dout[row + i] * out[row + i];
  for (int k = threadIdx.x; k < n; k += blockDim.x) {
    float dp = 0;
    const float* value = qkv + (static_cast<int64_t>(b) * n + k) * 3 * width + 2 * width + h * 64;
    for (int i = 0; i < 64; ++i) dp += dout[row + i] * value[i];
    const int64_t at = ((static_cast<int64_t>(b) * heads + h) * n + q) * n + k;
    ds[at] = p[at] * (dp - delta) * 0.125f;
  }
}

__global__ void plain_backward(int n, int heads, const float* qkv, const float* p, const float* ds, const float* dout,
                               float* dqkv) {
  const int r = blockIdx.x, h = blockIdx.y, b = blockIdx.z, d = threadIdx.x, width = heads * 64;
  const int64_t head = (static_cast<int64_t>(b) * heads + h) * n;
  float dq = 0, dk = 0, dv = 0;
  for (int i = 0; i < n; ++i) {
    const float* other = qkv + (static_cast<int64_t>(b) * n + i) * 3 * width + h * 64 + d;
    dq += ds[(head + r) * n + i] * other[width];
    dk += ds[(head + i) * n + r] * other[0];
    dv += p[(head + i) * n + r] * dout[(static_cast<int64_t>(b) * n + i) * width + h * 64 + d];
  }
  float* to = dqkv + (static_cast<int64_t>(b) * n + r) * 3 * width + h * 64 + d;
  to[0] = dq;
  to[width] = dk;
  to[2 * width] = dv;
}

struct PlainAttention {
  std::vector<float> out, dqkv;
};

template <class T>
std::vector<float> widened(const std::vector<T>& from) {
  std::vector<float> out;
  out.reserve(from.size());
  for (const T x : from) out.push_back(wide(x));
  return out;
}

PlainAttention plain_attention(int images, int n, int heads, const std::vector<float>& qkv,
                               const std::vector<float>& dout) {
  DeviceArray<float> d_qkv(qkv), d_dout(dout), out(dout.size()), dqkv(qkv.size());
  const auto scores = static_cast<size_t>(images) * heads * n * n;
  DeviceArray<float> p(scores), ds(scores);
  const dim3 grid(n, heads, images);
  plain_forward<<<grid, 64, n * 4>>>(n, heads, d_qkv.get(), p.get(), out.get());
  plain_scores<<<grid, 64>>>(n, heads, d_qkv.get(), p.get(), out.get(), d_dout.get(), ds.get());
  plain_backward<<<grid, 64>>>(n, heads, d_qkv.get(), p.get(), ds.get(), d_dout.get(), dqkv.get());
  cuda(cudaDeviceSynchronize(), "plain attention");
  return {out.host(), dqkv.host()};
}

std::vector<float> part(const std::vector<float>& qkv, int width, int which) {
  std::vector<float> out;
  for (size_t row = 0; row < qkv.size(); row += 3 * width) {
    out.insert(out.end(), qkv.begin() + row + which * width, qkv.begin() + row + (which + 1) * width);
  }
  return out;
}

template <class T>
void check_attention(const Bench<T>& bench, int images, int n, int heads, float spread) {
  const std::string what = bench.name("attention " + std::to_string(images) + "x" + std::to_string(n) + "x" +
                                      std::to_string(heads) + (spread > 1 ? " sharp" : ""));
  const int width = heads * 64;
  const auto rows = static_cast<size_t>(images) * n;
  const auto qkv = values<T>(rows * 3 * width, 16, spread), dout = values<T>(rows * width, 17);
  const PlainAttention plain = plain_attention(images, n, heads, widened(qkv), widened(dout));
  DeviceArray<T> d_qkv(qkv), d_dout(dout), out(rows * width), dqkv(rows * 3 * width);
  DeviceArray<float> lse(rows * heads), partials(static_cast<size_t>(images) * 2 * width), sums(2 * width);
  const AttentionShape shape{images, n, heads};
  attention_forward(bench.launch, shape, d_qkv.get(), out.get(), lse.get());
  bench.sync("attention forward");
  bench.checks.close(what + " out", out.host(), plain.out, 2 * HalfOf<T>::kError);
  attention_backward(bench.launch, shape, d_qkv.get(), out.get(), lse.get(), d_dout.get(), dqkv.get(), partials.get());
  SumTask task{partials.get(), sums.get(), images, 2 * width, 2 * width, Sum::kFloat, false};
  sum_columns(bench.launch, &task, 1);
  bench.sync("attention backward");
  const auto got = widened(dqkv.host());
  const char* names[3] = {" dq", " dk", " dv"};
  std::vector<float> wanted_sums(2 * static_cast<size_t>(width));
  for (int i = 0; i < 3; ++i) {
    const auto wanted = part(plain.dqkv, width, i);
    bench.checks.close(what + names[i], part(got, width, i), wanted, (i == 2 ? 2 : 4) * HalfOf<T>::kError);
    if (i == 1) continue;
    for (size_t j = 0; j < wanted.size(); ++j) wanted_sums[i / 2 * width + j % width] += wanted[j];
  }
  bench.checks.close(what + " bias sums", sums.host(), wanted_sums, 4 * HalfOf<T>::kError);
}

template <class T>
void check_class_attention(const Bench<T>& bench, int images, int n, int heads) {
  const std::string what = bench.name("class attention " + std::to_string(n));
  const int width = heads * 64;
  const auto rows = static_cast<size_t>(images) * n;
  const auto qkv = values<T>(rows * 3 * width, 18);
  std::vector<T> q, kv, dout;
  std::vector<float> full(rows * width);
  const auto seed = values<T>(static_cast<size_t>(images) * width, 19);
  for (size_t r = 0; r < rows; ++r) {
    if (r % n == 0) q.insert(q.end(), qkv.begin() + r * 3 * width, qkv.begin() + r * 3 * width + width);
    kv.insert(kv.end(), qkv.begin() + r * 3 * width + width, qkv.begin() + (r + 1) * 3 * width);
    for (int j = 0; r % n == 0 && j < width; ++j) full[r * width + j] = wide(seed[r / n * width + j]);
  }
  const PlainAttention plain = plain_attention(images, n, heads, widened(qkv), full);
  DeviceArray<T> d_q(q), d_kv(kv), d_dout(seed), out(q.size()), dq(q.size()), dkv(kv.size());
  DeviceArray<float> partials(static_cast<size_t>(images) * 2 * width);
  const AttentionShape shape{images, n, heads};
  class_attention_forward(bench.launch, shape, d_q.get(), d_kv.get(), out.get());
  class_attention_backward(bench.launch, shape, d_q.get(), d_kv.get(), d_dout.get(), dq.get(), dkv.get(),
                           partials.get());
  bench.sync("class attention");
  std::vector<float> wanted_out, wanted_dq, wanted_dkv;
  for (size_t r = 0; r < rows; ++r) {
    const auto from = plain.dqkv.begin() + r * 3 * width;
    if (r % n == 0) {
      wanted_out.insert(wanted_out.end(), plain.out.begin() + r * width, plain.out.begin() + (r + 1) * width);
      wanted_dq.insert(wanted_dq.end(), from, from + width);
    }
    wanted_dkv.insert(wanted_dkv.end(), from + width, from + 3 * width);
  }
  bench.checks.close(what + " out", out.host(), wanted_out, HalfOf<T>::kError);
  bench.checks.close(what + " dq", dq.host(), wanted_dq, HalfOf<T>::kError);
  bench.checks.close(what + " dkv", dkv.host(), wanted_dkv, HalfOf<T>::kError);
  std::vector<float> wanted_partials;
  for (int b = 0; b < images; ++b) {
    for (int j = 0; j < width; ++j) wanted_partials.push_back(wanted_dq[b * width + j]);
    for (int j = 0; j < width; ++j) wanted_partials.push_back(wide(seed[b * width + j]));
  }
  bench.checks.close(what + " bias sums", partials.host(), wanted_partials, 1e-4);
}

template <class T>
void check_head(const Bench<T>& bench, int rows, int width, int classes, uint32_t valid) {
  const std::string what =
      bench.name("head " + std::to_string(rows) + " rows, " + std::to_string(classes) + " classes");
  const auto h = values<T>(static_cast<size_t>(rows) * width, 20),
             weight = values<T>(static_cast<size_t>(classes) * width, 21, 0.05f),
             bias = values<T>(static_cast<size_t>(classes), 22);
  std::vector<int64_t> labels;
  for (int r = 0; r < rows; ++r) labels.push_back(r * 7 % classes);
  const float seed = 0.25f;
  std::vector<float> logits, dlogits, dh(h.size()), sums(static_cast<size_t>(classes) * width + classes);
  std::vector<int32_t> predicted;
  double loss_sum = 1.5;
  unsigned long long correct = 2;
  for (int r = 0; r < rows; ++r) {
    std::vector<double> row;
    for (int c = 0; c < classes; ++c) {
      double s = wide(bias[c]);
      for (int j = 0; j < width; ++j) s += static_cast<double>(wide(h[r * width + j])) * wide(weight[c * width + j]);
      row.push_back(s);
      logits.push_back(static_cast<float>(s));
    }
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const double s : row) sum += std::exp(s - top);
    const bool counts = r < static_cast<int>(valid);
    predicted.push_back(static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
    if (counts) loss_sum += std::log(sum) + top - row[labels[r]];
    if (counts && predicted.back() == labels[r]) ++correct;
    for (int c = 0; c < classes; ++c) {
      const double d = counts ? (std::exp(row[c] - top) / sum - (c == labels[r] ? 1 : 0)) * seed : 0;
      dlogits.push_back(static_cast<float>(d));
      for (int j = 0; j < width; ++j) {
        dh[r * width + j] += static_cast<float>(d * wide(weight[c * width + j]));
        sums[c * width + j] += static_cast<float>(d * wide(h[r * width + j]));
      }
      sums[static_cast<size_t>(classes) * width + c] += static_cast<float>(d);
    }
  }
  DeviceArray<T> d_h(h), d_weight(weight), d_bias(bias), d_dh(h.size());
  DeviceArray<float> d_logits(logits.size()), d_dlogits(logits.size()), d_sums(sums.size()),
      d_seed(std::vector<float>{seed});
  DeviceArray<int64_t> d_labels(labels);
  DeviceArray<uint32_t> d_valid(std::vector<uint32_t>{valid});
  DeviceArray<double> d_loss(std::vector<double>{1.5});
  DeviceArray<unsigned long long> d_correct(std::vector<unsigned long long>{2});
  DeviceArray<int32_t> d_predicted(static_cast<size_t>(rows));
  classify(bench.launch, rows, width, classes, d_h.get(), d_weight.get(), d_bias.get(), d_logits.get());
  cross_entropy(bench.launch, {rows, classes, d_logits.get(), d_labels.get(), d_valid.get(), d_seed.get(),
                               d_dlogits.get(), d_loss.get(), d_correct.get(), d_predicted.get()});
  classify_backward(bench.launch, rows, width, classes, d_dlogits.get(), d_weight.get(), d_dh.get());
  classifier_gradient(bench.launch, rows, width, classes, d_dlogits.get(), d_h.get(), d_sums.get());
  bench.sync("head");
  bench.checks.close(what + " logits", d_logits.host(), logits, 1e-5);
  bench.checks.close(what + " dlogits", d_dlogits.host(), dlogits, 1e-4);
  bench.checks.close(what + " dh", d_dh.host(), dh, HalfOf<T>::kError);
  bench.checks.close(what + " gradient", d_sums.host(), sums, 1e-4);
  bench.checks.close(what + " loss", d_loss.host(), std::vector<double>{loss_sum}, 1e-6);
  bench.checks.equal(what + " correct", d_correct.host()[0] == correct, std::to_string(d_correct.host()[0]));
  bench.checks.equal(what + " predicted", d_predicted.host() == predicted);
}

template <class T>
void check_products(const Bench<T>& bench, int m, int n, int k, int x_stride, int y_stride) {
  Matmuls matmuls(HalfOf<T>::kHalf, 0);
  const std::string what = bench.name("product " + std::to_string(m) + "x" + std::to_string(n) + "x" +
                                      std::to_string(k) + (x_stride != k ? " strided" : ""));
  const auto x = values<T>(static_cast<size_t>(m) * x_stride, 23), w = values<T>(static_cast<size_t>(n) * k, 24, 0.1f),
             y = values<T>(static_cast<size_t>(m) * y_stride, 25), bias = values<T>(static_cast<size_t>(n), 26),
             residual = values<T>(static_cast<size_t>(m) * y_stride, 27);
  const MatmulShape forward{Product::kForward, m, n, k, x_stride, y_stride, true, true, Sum::kHalf};
  const MatmulShape input{Product::kInput, m, n, k, x_stride, y_stride, false, false, Sum::kHalf};
  const MatmulShape weight{Product::kWeight, m, n, k, x_stride, y_stride, false, false, Sum::kHalf};
  const MatmulShape weight32{Product::kWeight, m, n, k, x_stride, y_stride, false, false, Sum::kFloat};
  for (const MatmulShape& shape : {forward, input, weight, weight32}) matmuls.plan(shape);
  DeviceArray<char> tuning(matmuls.tuning_bytes()), space(32 << 20);
  cuda(cudaMemset(tuning.get(), 0, tuning.size()), "memset");
  const Matmuls::Workspace workspace{space.get(), space.size()};
  matmuls.tune(tuning.get(), tuning.size(), true, bench.launch.stream, workspace);
  Matmuls later(HalfOf<T>::kHalf, 0);
  for (const MatmulShape& shape : {forward, input, weight, weight32}) later.plan(shape);
  later.tune(tuning.get(), tuning.size(), true, bench.launch.stream, workspace);
  bench.checks.equal(what + " remembered", later.timed() == 0, std::to_string(later.timed()) + " timed again");

  std::vector<float> wanted(y.size()), dx(x.size()), dw(w.size());
  for (size_t i = 0; i < x.size(); ++i) dx[i] = wide(x[i]);
  for (int r = 0; r < m; ++r) {
    for (int j = 0; j < n; ++j) {
      double sum = wide(bias[j]) + wide(residual[r * y_stride + j]);
      const float d = wide(y[r * y_stride + j]);
      for (int i = 0; i < k; ++i) {
        sum += static_cast<double>(wide(x[r * x_stride + i])) * wide(w[j * k + i]);
        dx[r * x_stride + i] += d * wide(w[j * k + i]);
        dw[j * k + i] += d * wide(x[r * x_stride + i]);
      }
      wanted[r * y_stride + j] = static_cast<float>(sum);
    }
  }
  DeviceArray<T> d_x(x), d_w(w), d_y(y), d_bias(bias), d_residual(residual), d_out(residual), d_dx(x), d_dw(w.size());
  DeviceArray<float> d_dw32(w.size());
  MatmulOperands operands;
  operands.x = d_x.get();
  operands.weight = d_w.get();
  operands.bias = d_bias.get();
  operands.residual = d_residual.get();
  operands.y = d_out.get();
  matmuls.run(forward, operands, bench.launch.stream, workspace);
  operands = {};
  operands.x = d_dx.get();
  operands.weight = d_w.get();
  operands.y = d_y.get();
  operands.add = true;
  matmuls.run(input, operands, bench.launch.stream, workspace);
  operands.x = d_x.get();
  operands.weight = d_dw.get();
  operands.add = false;
  matmuls.run(weight, operands, bench.launch.stream, workspace);
  operands.weight = d_dw32.get();
  matmuls.run(weight32, operands, bench.launch.stream, workspace);
  bench.sync("products");
  auto out = widened(d_out.host());
  for (size_t i = 0; i < out.size(); ++i) {  // between the rows nothing is written
    if (static_cast<int>(i % y_stride) >= n) wanted[i] = wide(residual[i]);
  }
  bench.checks.close(what + " forward", out, wanted, HalfOf<T>::kError);
  bench.checks.close(what + " input, added", d_dx.host(), dx, HalfOf<T>::kError);
  bench.checks.close(what + " weight", d_dw.host(), dw, HalfOf<T>::kError);
  bench.checks.close(what + " weight fp32", d_dw32.host(), dw, 1e-4);
}

template <class T>
void check_all(Checks& checks, bool small, const Launch& launch) {
  const Bench<T> bench{checks, launch};
  prepare_attention(launch.half);
  check_sums(bench);
  check_norm(bench, 5, 192, 1);
  check_norm(bench, 197, 768, 197);
  check_norm(bench, small ? 197 : 3 * 1576, 768, 1);
  check_norm(bench, 50, 1024, 1);
  check_norm(bench, 33, 384, 3);
  check_gelu(bench, 5, 768);
  check_gelu(bench, small ? 197 : 1577, 3072);
  check_gelu(bench, 64, 264);
  check_embedding(bench, 3, 48, 16, 192);
  check_embedding(bench, 2, 224, 16, 768);
  check_embedding(bench, 2, 64, 32, 128);
  check_head(bench, 5, 192, 3, 3);
  check_head(bench, 40, 768, 3, 40);
  check_head(bench, 9, 192, 70, 0);
  check_products(bench, 13, 64, 128, 128, 64);
  check_products(bench, 7, 128, 64, 320, 192);
  check_class_attention(bench, 2, 197, 3);
  check_class_attention(bench, 3, 5, 1);
  check_attention(bench, 2, 5, 1, 1);
  check_attention(bench, 2, 64, 2, 1);
  check_attention(bench, 2, 65, 2, 1);
  check_attention(bench, 1, 197, 1, 1);
  check_attention(bench, 2, 208, 3, 1);
  check_attention(bench, 2, 197, 3, 4);
  if (small) return;
  check_attention(bench, 150, 10, 3, 1);  // more heads than blocks: the loop over heads
  check_attention(bench, 32, 197, 12, 1);
}

}  // namespace

void check_kernels(Checks& checks, bool small) {
  cudaStream_t stream = nullptr;
  cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  int processors = 0;
  cuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0), "device");
  check_all<__nv_bfloat16>(checks, small, {stream, Half::kBf16, processors});
  check_all<__half>(checks, small, {stream, Half::kFp16, processors});
  cudaStreamDestroy(stream);
}

}  // namespace esp::vit::fused::test
