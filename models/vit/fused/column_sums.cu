#include "launch.cuh"

namespace esp::vit::fused {
namespace {

constexpr int kColumns = 32;  // of a block: a warp's lanes
constexpr int kGroups = 8;    // warps that share the rows

struct SumTasks {
  SumTask task[kMaxSumTasks];
  int first_block[kMaxSumTasks + 1];
  int n;
};

template <class T>
__global__ void __launch_bounds__(kColumns* kGroups) sum_kernel(const SumTasks tasks) {
  __shared__ float part[kGroups][kColumns];
  int index = 0;
  while (index + 1 < tasks.n && static_cast<int>(blockIdx.x) >= tasks.first_block[index + 1]) ++index;
  const SumTask task = tasks.task[index];
  const int lane = threadIdx.x % kColumns;
  const int group = threadIdx.x / kColumns;
  const int column = (blockIdx.x - tasks.first_block[index]) * kColumns + lane;
  float sum = 0;
  if (column < task.width && task.src != nullptr) {
#pragma unroll 4
    for (int row = group; row < task.rows; row += kGroups)
      sum += task.src[static_cast<int64_t>(row) * task.stride + column];
  }
  part[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= task.width) return;
#pragma unroll
  for (int i = 1; i < kGroups; ++i) sum += part[i][lane];
  if (task.type == Sum::kFloat) {
    float* dst = static_cast<float*>(task.dst) + column;
    *dst = task.add ? *dst + sum : sum;
  } else {
    T* dst = static_cast<T*>(task.dst) + column;
    *dst = Element<T>::narrow(task.add ? Element<T>::wide(*dst) + sum : sum);
  }
}

struct CopyBlocks {
  CopyTask task;
  int first_block[7];
};

constexpr int kCopyThreads = 256;
constexpr int kCopyVectors = 4;  // of 16 bytes, per thread

__global__ void __launch_bounds__(kCopyThreads) copy_kernel(const CopyBlocks blocks) {
  int index = 0;
  while (index + 1 < blocks.task.n && static_cast<int>(blockIdx.x) >= blocks.first_block[index + 1]) ++index;
  const int64_t vectors = blocks.task.elements[index] / kVector;
  const uint4* src = static_cast<const uint4*>(blocks.task.src[index]);
  uint4* dst = static_cast<uint4*>(blocks.task.dst[index]);
  int64_t at = static_cast<int64_t>(blockIdx.x - blocks.first_block[index]) * kCopyThreads * kCopyVectors + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kCopyVectors; ++i, at += kCopyThreads) {
    if (at < vectors) dst[at] = src[at];
  }
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) fail(ESP_E_DEVICE, what, ": ", cudaGetErrorString(status));
}

void sum_columns(const Launch& launch, const SumTask* tasks, int n) {
  SumTasks all{};
  int blocks = 0;
  for (int i = 0; i < n; ++i) {
    if (tasks[i].dst == nullptr || tasks[i].width == 0) continue;
    if (all.n == kMaxSumTasks) fail(ESP_E_INTERNAL, "more than ", kMaxSumTasks, " column sums at once");
    all.task[all.n] = tasks[i];
    all.first_block[all.n++] = blocks;
    blocks += blocks_for(tasks[i].width, kColumns);
  }
  if (blocks == 0) return;
  with_element(launch.half, [&](auto element) {
    sum_kernel<decltype(element)><<<blocks, kColumns * kGroups, 0, launch.stream>>>(all);
  });
  check_launch("column sums");
}

void copy_halves(const Launch& launch, const CopyTask& task) {
  CopyBlocks all{task, {}};
  int blocks = 0;
  for (int i = 0; i < task.n; ++i) {
    all.first_block[i] = blocks;
    blocks += blocks_for(task.elements[i] / kVector, kCopyThreads * kCopyVectors);
  }
  if (blocks == 0) return;
  copy_kernel<<<blocks, kCopyThreads, 0, launch.stream>>>(all);
  check_launch("packing weights");
}

}  // namespace esp::vit::fused
