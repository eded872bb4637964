# `cmake --install`: libraries, headers, pocketlora_run, a CMake package and pkg-config files (docs/embedding.md).
# The prefix may be moved: everything inside it is found relative to itself.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

option(POCKETLORA_INSTALL_EXECUTORCH "Install the ExecuTorch libraries beside libpocketlora" ON)

set(POCKETLORA_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/pocketlora)
set(POCKETLORA_RPATH $ORIGIN)
set(POCKETLORA_EXECUTORCH_TARGETS executorch::runtime executorch::kernels_optimized executorch::threadpool
                                  ${POCKETLORA_DELEGATE_TARGETS})
if(NOT POCKETLORA_INSTALL_EXECUTORCH)
  # They stay where they are, so that is where they are looked for.
  list(APPEND POCKETLORA_RPATH ${EXECUTORCH_RUNTIME_LIBRARY_DIR})
endif()

# ExecuTorch's package has the linker write its own absolute path into whatever uses it, installed or not. CMake gives the
# build tree that path anyway.
foreach(target ${POCKETLORA_EXECUTORCH_TARGETS})
  get_target_property(options ${target} INTERFACE_LINK_OPTIONS)
  if(options)
    list(FILTER options EXCLUDE REGEX "^LINKER:-rpath,")
    set_target_properties(${target} PROPERTIES INTERFACE_LINK_OPTIONS "${options}")
  endif()
endforeach()

set_target_properties(pocketlora pocketlora_tokenizer PROPERTIES INSTALL_RPATH "${POCKETLORA_RPATH}")
set_target_properties(pocketlora_tokenizer PROPERTIES EXPORT_NAME tokenizer)
install(
  TARGETS pocketlora pocketlora_tokenizer
  EXPORT pocketlora
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/pocketlora DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ../LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(TARGET pocketlora_run)
  file(RELATIVE_PATH libraries /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  set_target_properties(pocketlora_run PROPERTIES INSTALL_RPATH "$ORIGIN/${libraries}")
  install(TARGETS pocketlora_run DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

if(POCKETLORA_INSTALL_EXECUTORCH)
  foreach(target ${POCKETLORA_EXECUTORCH_TARGETS})
    install(FILES $<TARGET_FILE:${target}> DESTINATION ${CMAKE_INSTALL_LIBDIR} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
                                                       GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  endforeach()
  # BSD: whoever passes the libraries on passes their licence on. A wheel keeps it beside its package.
  file(GLOB POCKETLORA_EXECUTORCH_LICENSE ${executorch_DIR}/../../../executorch-*.dist-info/licenses/LICENSE)
  if(POCKETLORA_EXECUTORCH_LICENSE)
    list(GET POCKETLORA_EXECUTORCH_LICENSE 0 license)
    install(FILES ${license} DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME LICENSE.executorch)
  else()
    message(STATUS "No licence of ExecuTorch beside ${executorch_DIR}: add it to what you distribute")
  endif()
endif()

install(
  EXPORT pocketlora
  FILE pocketlora-targets.cmake
  NAMESPACE pocketlora::
  DESTINATION ${POCKETLORA_PACKAGE_DIR})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/package/pocketlora-config.cmake.in
                              ${CMAKE_CURRENT_BINARY_DIR}/package/pocketlora-config.cmake
                              INSTALL_DESTINATION ${POCKETLORA_PACKAGE_DIR})
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/package/pocketlora-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/package/pocketlora-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/package/pocketlora-config-version.cmake
        DESTINATION ${POCKETLORA_PACKAGE_DIR})

file(RELATIVE_PATH POCKETLORA_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(name pocketlora pocketlora_tokenizer)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/package/${name}.pc.in ${CMAKE_CURRENT_BINARY_DIR}/package/${name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/package/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
