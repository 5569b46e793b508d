# espalier_add_plugin(name SOURCES file... [TORCH none|exact] [STATIC_RUNTIME] [OUTPUT_DIRECTORY folder])
#
# Makes lib<name>.so: a library that the host loads at run time. It exports esp_plugin_entry_v1 and nothing else, and the
# build fails when it does not, or when the note that the host reads before loading is missing.
#   TORCH exact       uses LibTorch's C++ (links espalier::torch); loads with exactly the LibTorch in Espalier_TORCH_STAMP
#   STATIC_RUNTIME    carries the C++ runtime along, so that it also loads where that is older
#   OUTPUT_DIRECTORY  default: Espalier_PLUGIN_DIR when set, else the current binary folder

function(espalier_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "STATIC_RUNTIME" "TORCH;OUTPUT_DIRECTORY" "SOURCES")
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
