# Whether CUDA parts are built: Espalier_CUDA = AUTO (when a toolkit is found), ON (or fail), OFF. They are libraries of their
# own, loaded only when a GPU is asked for: the same tree runs on machines without one.
set(Espalier_CUDA AUTO CACHE STRING "Build the CUDA parts: AUTO, ON or OFF")
set_property(CACHE Espalier_CUDA PROPERTY STRINGS AUTO ON OFF)
# 90a: wgmma is Hopper's own. Newer GPUs run what the driver makes of the PTX.
set(Espalier_CUDA_ARCHITECTURES "80-real;86-real;89-real;90a-real;80-virtual" CACHE STRING "GPU architectures of the CUDA parts")

set(Espalier_CUDA_FOUND FALSE)
if(NOT Espalier_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_ARCHITECTURES ${Espalier_CUDA_ARCHITECTURES})
    enable_language(CUDA)
    find_package(CUDAToolkit 13 QUIET)
  endif()
  if(CUDAToolkit_FOUND)
    find_path(Espalier_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} DOC "The folder of nccl.h")
  endif()
  if(CUDAToolkit_FOUND AND Espalier_NCCL_INCLUDE AND EXISTS ${Espalier_TORCH_LIB_DIR}/libc10_cuda.so)
    set(Espalier_CUDA_FOUND TRUE)
  elseif(Espalier_CUDA STREQUAL "ON")
    message(FATAL_ERROR "Espalier_CUDA=ON needs nvcc 13 (found: ${CUDAToolkit_VERSION}), nccl.h (found: ${Espalier_NCCL_INCLUDE}) "
      "and a LibTorch that has libc10_cuda.so (looked in ${Espalier_TORCH_LIB_DIR})")
  endif()
endif()

if(Espalier_CUDA_FOUND)
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  # LibTorch brings the shared CUDA runtime into the process: one of them is enough.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  message(STATUS "CUDA ${CUDAToolkit_VERSION} for ${Espalier_CUDA_ARCHITECTURES}")
  set(CMAKE_CUDA_STANDARD 17)  # the newest that CMake 3.25 knows nvcc to have
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  # Warnings for sources in C++ of targets that have CUDA sources, too: nvcc does not know g++'s flags.
  add_library(espalier_cuda_settings INTERFACE)
  target_compile_options(espalier_cuda_settings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:$<TARGET_PROPERTY:espalier_settings,INTERFACE_COMPILE_OPTIONS>>)
  # espalier::torch_cuda: what may name c10_cuda and torch_cuda. Their own needs (cuDNN, NCCL, ...) are not looked at here.
  add_library(espalier_torch_cuda INTERFACE)
  add_library(espalier::torch_cuda ALIAS espalier_torch_cuda)
  target_link_libraries(espalier_torch_cuda INTERFACE espalier::torch ${Espalier_TORCH_LIB_DIR}/libc10_cuda.so CUDA::cudart)
else()
  message(STATUS "CUDA parts are not built (Espalier_CUDA=${Espalier_CUDA})")
endif()
