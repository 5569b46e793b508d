# cmake -D SOURCE=<consumer> -D PREFIX=<installed> -D COMPILER=.. -D C_COMPILER=.. -D CTEST=ctest -D LIBTORCH=.. -D FOLDER=.. -P UseInstalled.cmake
# Builds a project that knows nothing but the prefix, runs its tests, and trains with what it built. Every file that its sources
# read is the prefix's, the compiler's or the C and C++ libraries'.
include(${CMAKE_CURRENT_LIST_DIR}/Step.cmake)

file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
file(COPY ${SOURCE}/ DESTINATION ${FOLDER}/source)
step(configure ${CMAKE_COMMAND} -S source -B build -G "Unix Makefiles" -DCMAKE_PREFIX_PATH=${PREFIX} -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_C_COMPILER=${C_COMPILER} "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror" "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
step(build ${CMAKE_COMMAND} --build build --parallel 2)
step(test ${CTEST} --test-dir build --output-on-failure)

file(GLOB_RECURSE lists ${FOLDER}/build/*.o.d)
if(NOT lists)
  message(FATAL_ERROR "no list of what the compiler read")
endif()
foreach(list IN LISTS lists)
  file(READ ${list} read)
  if(NOT read MATCHES "include/espalier/" OR read MATCHES "torch|ATen|boost|cuda")
    message(FATAL_ERROR "${list}: the SDK is not enough:\n${read}")
  endif()
endforeach()

set(ENV{ESPALIER_LIBTORCH} ${LIBTORCH})
step(run ${PREFIX}/bin/host run --plugin=${FOLDER}/build/libmajority_vote.so --nproc=2 --threads=1 --model.hidden_size=32
  --model.num_hidden_layers=2 --model.num_attention_heads=2 --model.image_size=32 --model.patch_size=8 --data.synthetic_train=48
  --data.synthetic_validation=9 --train.batch_size=4 --train.precision=fp32 --out=run)
expect_results(world_size 2)
