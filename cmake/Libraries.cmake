# How the project's libraries are declared.
# g++ 12 warns of std::optional members that it cannot follow.
set(ONNXOPT_WARNINGS -Wall -Wextra -Werror $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
    # clang takes libstdc++'s own use of get_temporary_buffer for ours.
    $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
if(ONNXOPT_SANITIZE)
  add_compile_options(-fsanitize=${ONNXOPT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ONNXOPT_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL Clang AND ONNXOPT_SANITIZE MATCHES address)
    add_compile_options(-fsanitize=fuzzer-no-link) # coverage for test/fuzz
  endif()
  # LLVM's archive was built without: container annotations would not match.
  add_compile_definitions(_GLIBCXX_SANITIZE_VECTOR=0)
endif()

# Headers are included as "onnxopt/ir/Graph.h", in the build tree as after install.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
file(CREATE_LINK ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/include/onnxopt SYMBOLIC)

set_property(GLOBAL PROPERTY ONNXOPT_LIBRARIES "")

# onnxopt_library(ir SOURCES ... LINKS ... [NO_PCH])
function(onnxopt_library name)
  cmake_parse_arguments(ARG "NO_PCH" "" "SOURCES;LINKS" ${ARGN})
  set(target onnxopt_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(onnxopt::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_compile_options(${target} PRIVATE ${ONNXOPT_WARNINGS} -fno-exceptions -fno-rtti -ffunction-sections)
  target_link_libraries(${target} PUBLIC ${ARG_LINKS} onnxopt_llvm absl::status absl::statusor absl::strings)
  if(NOT ARG_NO_PCH)
    target_precompile_headers(${target} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/Precompiled.h)
  endif()
  set_property(GLOBAL APPEND PROPERTY ONNXOPT_LIBRARIES ${target})
endfunction()

# onnxopt::onnxopt brings them all.
function(onnxopt_umbrella)
  get_property(libraries GLOBAL PROPERTY ONNXOPT_LIBRARIES)
  add_library(onnxopt INTERFACE)
  add_library(onnxopt::onnxopt ALIAS onnxopt)
  target_link_libraries(onnxopt INTERFACE ${libraries})
endfunction()
