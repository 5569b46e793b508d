# espalier_add_plugin(name SOURCES file... [TORCH none|exact] [CUDA] [STATIC_RUNTIME] [OUTPUT_DIRECTORY folder])
#
# Makes lib<name>.so: a library that the host loads at run time. It exports esp_plugin_entry_v1 and nothing else, and the
# build fails when it does not, or when the note that the host reads before loading is missing.
#   TORCH exact       uses LibTorch's C++ (links espalier::torch); loads with exactly the LibTorch in Espalier_TORCH_STAMP
#   CUDA              holds device code: the note says for which architectures (CMAKE_CUDA_ARCHITECTURES), and the CUDA runtime
#                     is linked statically, hidden
#   STATIC_RUNTIME    carries the C++ runtime along, so that it also loads where that is older
#   OUTPUT_DIRECTORY  default: Espalier_PLUGIN_DIR when set, else the current binary folder
#
# espalier_add_conformance(name [WORLD n...] [ARGS argument...] [TIMEOUT seconds] [LABELS label...])
#
# Registers a CTest entry verify.<name>.<n> for each world size in WORLD (default: 1 2) that runs `host verify` over the plugin.
# ARGS are handed to it as they are. The program is Espalier_HOST; find_package sets it to the one beside the SDK. Without one the
# entries are skipped, with the reason.

function(espalier_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "STATIC_RUNTIME;CUDA" "TORCH;OUTPUT_DIRECTORY" "SOURCES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "espalier_add_plugin(${name}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "espalier_add_plugin(${name}): SOURCES are missing")
  endif()
  if(NOT arg_TORCH)
    set(arg_TORCH none)
  endif()
  if(NOT arg_OUTPUT_DIRECTORY)
    set(arg_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
    if(Espalier_PLUGIN_DIR)
      set(arg_OUTPUT_DIRECTORY ${Espalier_PLUGIN_DIR})
    endif()
  endif()

  add_library(${name} MODULE ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE espalier::sdk)
  set_target_properties(${name} PROPERTIES
    PREFIX lib SUFFIX .so LIBRARY_OUTPUT_DIRECTORY ${arg_OUTPUT_DIRECTORY} POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(NOT CMAKE_CXX_STANDARD)
    set_target_properties(${name} PROPERTIES CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF)
  endif()
  espalier_link_plugin(${name} "${arg_TORCH}" "${arg_STATIC_RUNTIME}")
  if(arg_CUDA)
    espalier_cuda_plugin(${name})
  endif()
  add_custom_command(TARGET ${name} POST_BUILD VERBATIM
    COMMAND ${CMAKE_COMMAND} -D PLUGIN=$<TARGET_FILE:${name}> -D NM=${CMAKE_NM} -D READELF=${CMAKE_READELF}
      -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/EspalierCheckPlugin.cmake)
endfunction()

# Internal: link options, and what the note says about LibTorch.
function(espalier_link_plugin name torch static_runtime)
  set(map ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/espalier_plugin.map)
  set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS ${map})
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${map} -Wl,-z,nodelete -Wl,--exclude-libs,ALL -Wl,--build-id)
  if(torch STREQUAL "exact")
    if(NOT TARGET espalier::torch OR NOT Espalier_TORCH_STAMP)
      message(FATAL_ERROR "espalier_add_plugin(${name} TORCH exact) needs a target espalier::torch and Espalier_TORCH_STAMP, "
        "e.g. \"2.11.0+cu130 cxx11\"")
    endif()
    target_link_libraries(${name} PRIVATE espalier::torch)
    target_compile_definitions(${name} PRIVATE ESP_TORCH_TIER=ESP_TORCH_EXACT "ESP_TORCH_STAMP=\"${Espalier_TORCH_STAMP}\"")
  elseif(torch STREQUAL "none")
    if(NOT Espalier_SANITIZE)  # a sanitizer's runtime is resolved when the library is loaded
      target_link_options(${name} PRIVATE -Wl,-z,defs)
    endif()
  else()
    message(FATAL_ERROR "espalier_add_plugin(${name}): TORCH is none or exact, not ${torch}")
  endif()
  if(static_runtime)
    target_link_options(${name} PRIVATE -static-libstdc++ -static-libgcc)
  endif()
endfunction()

# Internal: device code, and what the note says about it.
function(espalier_cuda_plugin name)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "espalier_add_plugin(${name} CUDA): call enable_language(CUDA) first")
  endif()
  set(architectures "")
  foreach(architecture IN LISTS CMAKE_CUDA_ARCHITECTURES)
    if(architecture MATCHES "^([0-9]+[a-z]?)-virtual$")
      list(APPEND architectures +ptx_${CMAKE_MATCH_1})
    elseif(architecture MATCHES "^([0-9]+[a-z]?)-real$")
      list(APPEND architectures sm_${CMAKE_MATCH_1})
    else()
      list(APPEND architectures sm_${architecture})
    endif()
  endforeach()
  list(JOIN architectures " " architectures)
  string(REGEX MATCH "^[0-9]+\\.[0-9]+" version "${CMAKE_CUDA_COMPILER_VERSION}")
  target_compile_definitions(${name} PRIVATE "ESP_CUDA_TEXT=\"${version}: ${architectures}\"")
  set_target_properties(${name} PROPERTIES CUDA_VISIBILITY_PRESET hidden CUDA_RUNTIME_LIBRARY Static
    CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON)
endfunction()

function(espalier_add_conformance name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "WORLD;ARGS;LABELS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "espalier_add_conformance(${name}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT TARGET ${name})
    message(FATAL_ERROR "espalier_add_conformance(${name}): there is no plugin of that name; call espalier_add_plugin first")
  endif()
  if(NOT arg_WORLD)
    set(arg_WORLD 1 2)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  foreach(world IN LISTS arg_WORLD)
    set(test verify.${name}.${world})
    add_test(NAME ${test} COMMAND ${CMAKE_COMMAND} "-DHOST=${Espalier_HOST}" -DPLUGIN=$<TARGET_FILE:${name}> -DWORLD=${world}
      "-DARGS=${arg_ARGS}" -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/EspalierVerify.cmake)
    set_tests_properties(${test} PROPERTIES TIMEOUT ${arg_TIMEOUT} SKIP_REGULAR_EXPRESSION "espalier: skipped:")
    if(arg_LABELS)
      set_tests_properties(${test} PROPERTIES LABELS "${arg_LABELS}")
    endif()
  endforeach()
endfunction()
