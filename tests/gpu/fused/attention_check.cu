// attention_check: the attention kernels by wgmma beside those by mma.sync and a plain computation, on a machine with a
// GPU. Says where a result is wrong, not only that it is, and how long each kernel takes. Ends with 0 when all is
// right.
#include <algorithm>

#include "attention_check.hpp"

namespace esp::vit::fused::test {
namespace {

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
  if (part == "small") {
    launch.processors = 2;
    check_forward_small<T>(launch, wgmma);
    return check_backward_small<T>(launch, wgmma);
  }
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
