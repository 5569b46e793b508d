# find_package(Espalier 1.0 CONFIG): the target espalier::sdk and the function espalier_add_plugin. Everything is found
# relative to this file, so the folder may be moved.
get_filename_component(Espalier_PREFIX ${CMAKE_CURRENT_LIST_DIR}/../../.. ABSOLUTE)
if(NOT EXISTS ${Espalier_PREFIX}/include/espalier/abi.h)
  set(Espalier_FOUND FALSE)
  set(Espalier_NOT_FOUND_MESSAGE "${Espalier_PREFIX}/include/espalier/abi.h is missing")
  return()
endif()
if(NOT TARGET espalier::sdk)
  add_library(espalier::sdk INTERFACE IMPORTED)
  target_include_directories(espalier::sdk INTERFACE ${Espalier_PREFIX}/include)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/EspalierPlugin.cmake)
