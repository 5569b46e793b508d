# cmake -D BUILD=<build folder> -D KIND=install|package -D CPACK=cpack -D FOLDER=.. -P InstallSdk.cmake
# Leaves FOLDER/espalier: what `cmake --install` writes, or the unpacked package.
cmake_minimum_required(VERSION 3.20)
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
if(KIND STREQUAL "install")
  execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${FOLDER}/espalier OUTPUT_QUIET ERROR_VARIABLE why
    RESULT_VARIABLE failed)
else()
  execute_process(COMMAND ${CPACK} -G TGZ --config ${BUILD}/CPackConfig.cmake -B ${FOLDER}/cpack OUTPUT_QUIET ERROR_VARIABLE why
    RESULT_VARIABLE failed)
  file(GLOB package ${FOLDER}/cpack/*.tar.gz)
  if(NOT failed)
    file(ARCHIVE_EXTRACT INPUT ${package} DESTINATION ${FOLDER}/unpacked)
    file(GLOB top ${FOLDER}/unpacked/*)
    file(RENAME ${top} ${FOLDER}/espalier)
  endif()
endif()
if(failed)
  message(FATAL_ERROR "${KIND}: ${failed}\n${why}")
endif()
foreach(file IN ITEMS bin/host include/espalier/abi.h lib/cmake/Espalier/EspalierConfig.cmake lib/espalier/libddp.so
    share/espalier/template/CMakeLists.txt share/espalier/examples/replica.h share/espalier/docs/plugin-authors.md)
  if(NOT EXISTS ${FOLDER}/espalier/${file})
    message(FATAL_ERROR "${KIND}: ${file} is missing")
  endif()
endforeach()
