# `cmake --install` and the relocatable tarball: host, runtime, plugins, models, SDK, and the small libraries they need beside
# the C and C++ runtime. LibTorch stays outside: it is found at start (ESPALIER_LIBTORCH, or a python3 that has torch).
set(Espalier_INSTALL_LIBRARIES lib/third_party)

# DT_RPATH rather than DT_RUNPATH: it is also searched for what the small libraries need themselves.
foreach(target IN ITEMS espalier_host draw_leaves vit)
  target_link_options(${target} PRIVATE -Wl,--disable-new-dtags)
endforeach()
set_target_properties(espalier_host draw_leaves PROPERTIES INSTALL_RPATH "$ORIGIN/../${Espalier_INSTALL_LIBRARIES}")
set_target_properties(vit PROPERTIES INSTALL_RPATH "$ORIGIN/../third_party")
set_target_properties(espalier_runtime PROPERTIES INSTALL_RPATH "")

install(TARGETS espalier_host draw_leaves RUNTIME DESTINATION bin)
install(TARGETS espalier_runtime LIBRARY DESTINATION lib)
if(TARGET espalier_cuda)
  install(TARGETS espalier_cuda LIBRARY DESTINATION lib)
endif()
if(TARGET vit_cuda)
  install(TARGETS vit_cuda LIBRARY DESTINATION lib)
endif()
foreach(plugin IN ITEMS ddp ddp_fp16 zero gemini vit)
  if(TARGET ${plugin})
    install(TARGETS ${plugin} LIBRARY DESTINATION lib/espalier)
  endif()
endforeach()
install(FILES README.md CHANGELOG.md LICENSE NOTICE DESTINATION share/espalier)
install(DIRECTORY docs DESTINATION share/espalier)

install(CODE "
  file(GET_RUNTIME_DEPENDENCIES EXECUTABLES $<TARGET_FILE:espalier_host> $<TARGET_FILE:draw_leaves> MODULES $<TARGET_FILE:vit>
    RESOLVED_DEPENDENCIES_VAR resolved UNRESOLVED_DEPENDENCIES_VAR unresolved
    PRE_EXCLUDE_REGEXES \"^(libtorch|libc10|libc\\\\.|libm\\\\.|libgcc_s|libstdc|ld-linux|libpthread|libdl|libcud|libcupti|libgomp)\")
  foreach(library IN LISTS resolved)
    file(INSTALL DESTINATION \${CMAKE_INSTALL_PREFIX}/${Espalier_INSTALL_LIBRARIES} TYPE SHARED_LIBRARY
      FOLLOW_SYMLINK_CHAIN FILES \${library})
  endforeach()")

set(CPACK_PACKAGE_NAME espalier)
set(CPACK_PACKAGE_FILE_NAME espalier-${PROJECT_VERSION}-linux-x86_64)
set(CPACK_GENERATOR TGZ)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
include(CPack)
