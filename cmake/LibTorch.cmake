# LibTorch as one imported target, espalier::torch (torch_cpu and c10 only: what needs CUDA lives in libraries of its own).
# TorchConfig.cmake is not used: it drags in CUDA detection and 3 GB of libraries that a CPU machine need not have.
#
# Looked for in this order: -DEspalier_LIBTORCH, $ESPALIER_LIBTORCH, the cache that cmake/bootstrap.sh fills, a python3
# that has torch. A folder may be a LibTorch folder (include/, lib/) or one that holds the wheel (torch/include, torch/lib).
set(Espalier_TORCH_VERSION 2.11.0)

function(espalier_torch_root folder out)
  set(${out} "" PARENT_SCOPE)
  foreach(root IN ITEMS ${folder} ${folder}/torch)
    if(EXISTS ${root}/lib/libtorch_cpu.so AND EXISTS ${root}/include/ATen/ATen.h)
      set(${out} ${root} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

if(DEFINED ENV{XDG_CACHE_HOME})
  set(cache_home $ENV{XDG_CACHE_HOME})
else()
  set(cache_home $ENV{HOME}/.cache)
endif()

set(torch_root "")
foreach(candidate IN ITEMS ${Espalier_LIBTORCH} $ENV{ESPALIER_LIBTORCH} ${cache_home}/espalier/libtorch-${Espalier_TORCH_VERSION})
  if(NOT torch_root)
    espalier_torch_root(${candidate} torch_root)
    if(NOT torch_root AND (candidate STREQUAL Espalier_LIBTORCH OR candidate STREQUAL "$ENV{ESPALIER_LIBTORCH}"))
      message(FATAL_ERROR "${candidate} holds no LibTorch (looked for lib/libtorch_cpu.so and include/ATen/ATen.h)")
    endif()
  endif()
endforeach()
if(NOT torch_root)
  execute_process(COMMAND python3 -c "import torch, os; print(os.path.dirname(torch.__file__))"
    OUTPUT_VARIABLE candidate OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    espalier_torch_root(${candidate} torch_root)
  endif()
endif()
if(NOT torch_root)
  message(FATAL_ERROR "No LibTorch ${Espalier_TORCH_VERSION} found. Run 'make setup' (it fetches the pinned wheels), or give "
    "-DEspalier_LIBTORCH=/path/to/libtorch.")
endif()

set(torch_version "")
foreach(part MAJOR MINOR PATCH)
  file(STRINGS ${torch_root}/include/torch/headeronly/version.h line REGEX "define TORCH_VERSION_${part} ")
  string(REGEX MATCH "[0-9]+$" number "${line}")
  list(APPEND torch_version ${number})
endforeach()
string(REPLACE ";" "." torch_version "${torch_version}")
if(NOT torch_version STREQUAL Espalier_TORCH_VERSION)
  message(FATAL_ERROR "LibTorch in ${torch_root} is ${torch_version}; Espalier is built with ${Espalier_TORCH_VERSION}")
endif()
set(torch_local "")
if(EXISTS ${torch_root}/version.py)
  file(STRINGS ${torch_root}/version.py version_lines REGEX "^__version__ = ")
  string(REGEX MATCH "\\+[A-Za-z0-9.]+" torch_local "${version_lines}")
endif()
# What a module built with it writes into its note, and the runtime compares.
set(Espalier_TORCH_STAMP "${Espalier_TORCH_VERSION}${torch_local} cxx11")
set(Espalier_TORCH_LIB_DIR ${torch_root}/lib)
message(STATUS "LibTorch ${Espalier_TORCH_STAMP} in ${torch_root}")

add_library(espalier_torch INTERFACE)
add_library(espalier::torch ALIAS espalier_torch)
target_include_directories(espalier_torch SYSTEM INTERFACE ${torch_root}/include ${torch_root}/include/torch/csrc/api/include)
target_compile_definitions(espalier_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_link_libraries(espalier_torch INTERFACE ${torch_root}/lib/libtorch_cpu.so ${torch_root}/lib/libc10.so)
# libtorch_cpu needs libraries of NVIDIA's that it finds by its own run path; the linker need not see them.
target_link_options(espalier_torch INTERFACE -Wl,--allow-shlib-undefined -Wl,--no-as-needed)
