#include "attention_check.hpp"

namespace esp::vit::fused::test {
namespace {

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

}  // namespace

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

template <class T>
void check_forward_small(const Launch& launch, bool wgmma) {
  const Size size{2, 197, 2};
  check_forward<T>(launch, forward_variants(wgmma), size, values<T>(size.rows() * size.width() * 3, 16), "small");
}

template void check_forward_all<__nv_bfloat16>(const Launch&, bool);
template void check_forward_all<__half>(const Launch&, bool);
template void check_forward_small<__nv_bfloat16>(const Launch&, bool);
template void check_forward_small<__half>(const Launch&, bool);

}  // namespace esp::vit::fused::test
