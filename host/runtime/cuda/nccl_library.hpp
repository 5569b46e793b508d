// The functions of the NCCL that libtorch_cuda uses: one NCCL a process.
#pragma once

#include <nccl.h>

#include <string>

namespace esp::runtime {

struct NcclLibrary {
  // Looks it up once: what is in the process already, else by name. Throws Error(kResource) when there is none or it is
  // too old.
  static const NcclLibrary& get();

  decltype(&::ncclGetVersion) get_version;
  decltype(&::ncclGetUniqueId) get_unique_id;
  decltype(&::ncclCommInitRankConfig) comm_init_rank_config;
  decltype(&::ncclCommSplit) comm_split;
  decltype(&::ncclCommAbort) comm_abort;
  decltype(&::ncclCommGetAsyncError) comm_get_async_error;
  decltype(&::ncclGetErrorString) get_error_string;
  decltype(&::ncclGetLastError) get_last_error;
  decltype(&::ncclAllReduce) all_reduce;
  decltype(&::ncclReduceScatter) reduce_scatter;
  decltype(&::ncclAllGather) all_gather;

 private:
  NcclLibrary();
};

}  // namespace esp::runtime
