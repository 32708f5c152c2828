# Tests that run CUDA kernels on the CPU: files named *_kernel_test.cc. Each
# becomes a program, and where the compiler is g++ and nothing else has its
# hooks, a second one, NAME_checked, in which the checker watches every access.

set(simt ${CMAKE_CURRENT_LIST_DIR})
file(GLOB simt_sources CONFIGURE_DEPENDS ${simt}/*.cc)
list(FILTER simt_sources EXCLUDE REGEX "/(kernel_test_main|tsan_hooks)\\.cc$")
add_library(banyan_simt STATIC EXCLUDE_FROM_ALL ${simt_sources})
target_link_libraries(banyan_simt PUBLIC
  banyan_base GTest::gtest ${CMAKE_DL_LIBS})
# In programs that link this first, before the toolkit's own headers.
target_include_directories(banyan_simt SYSTEM INTERFACE ${simt}/cuda)
# Steps are fused only where a kernel asks for it.
target_compile_options(banyan_simt PUBLIC -ffp-contract=off)

# Both kinds of program: options, the main function, headers of others.
function(banyan_kernel_kind kind)
  add_library(${kind} OBJECT EXCLUDE_FROM_ALL ${simt}/kernel_test_main.cc)
  target_link_libraries(${kind} PUBLIC banyan_simt)
  target_compile_options(${kind} PUBLIC -O1 -Wno-unknown-pragmas ${ARGN})
  target_compile_definitions(${kind} PUBLIC
    BANYAN_HAS_PTX=$<BOOL:${BANYAN_HAS_CUDA}>
    BANYAN_PTX_DIR="${CMAKE_BINARY_DIR}/cuda")
  target_precompile_headers(${kind} PRIVATE ${BANYAN_COMMON_HEADERS}
    <gtest/gtest.h> <random>)
endfunction()

set(simt_kinds banyan_simt_plain)
banyan_kernel_kind(banyan_simt_plain)
target_compile_definitions(banyan_simt_plain PUBLIC BANYAN_SIMT_CHECKED=0)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT BANYAN_SANITIZER)
  add_library(banyan_simt_hooks OBJECT ${simt}/tsan_hooks.cc)
  target_link_libraries(banyan_simt_hooks PRIVATE banyan_simt)
  # Compiled with calls of hooks, linked with ours; whole accesses, not the
  # parts that scalar replacement makes of them; lines for the findings.
  list(APPEND simt_kinds banyan_simt_checked)
  banyan_kernel_kind(banyan_simt_checked
    -g1 -fno-tree-sra -fsanitize=thread -fsanitize=undefined
    "SHELL:--param tsan-instrument-func-entry-exit=0" -fno-sanitize=vptr
    -fno-sanitize-recover=undefined)
  target_compile_definitions(banyan_simt_checked PUBLIC BANYAN_SIMT_CHECKED=1)
  target_link_options(banyan_simt_checked PUBLIC -fsanitize=undefined)
endif()

# banyan_ptx(NAME SOURCE): what nvcc makes of the kernels in SOURCE, for each
# architecture: NAME_ARCHITECTURE.ptx, and what ptxas makes of that, .cubin; a
# spill fails the build.
function(banyan_ptx name source)
  cmake_path(GET CMAKE_CUDA_COMPILER PARENT_PATH cuda_bin)
  set(cubins)
  foreach(architecture ${BANYAN_CUDA_ARCHITECTURES})
    set(out ${CMAKE_BINARY_DIR}/cuda/${name}_${architecture})
    add_custom_command(OUTPUT ${out}.ptx
      COMMAND ${CMAKE_CUDA_COMPILER} -std=c++20 -O3 -fmad=false
        -arch=compute_${architecture} -I${CMAKE_SOURCE_DIR} -ptx
        -MD -MF ${out}.d -MT ${out}.ptx -o ${out}.ptx ${source}
      DEPENDS ${source} DEPFILE ${out}.d VERBATIM)
    add_custom_command(OUTPUT ${out}.cubin
      COMMAND ${cuda_bin}/ptxas -O3 -arch=sm_${architecture}
        --warn-on-spills --warn-on-local-memory-usage --warning-as-error
        -o ${out}.cubin ${out}.ptx
      DEPENDS ${out}.ptx VERBATIM)
    list(APPEND cubins ${out}.cubin)
  endforeach()
  add_custom_target(ptx_${name} ALL DEPENDS ${cubins})
  set_property(GLOBAL APPEND PROPERTY BANYAN_CUBINS ${cubins})
endfunction()

# banyan_kernels(NAME SOURCES... LIBRARIES...): kernels and what launches them, for
# tests that name them. .cu files are taken as C++.
function(banyan_kernels name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  set_source_files_properties(${arg_SOURCES} PROPERTIES LANGUAGE CXX)
  foreach(kind ${simt_kinds})
    string(REPLACE "banyan_simt" "${name}" kernels ${kind})
    add_library(${kernels} OBJECT EXCLUDE_FROM_ALL ${arg_SOURCES})
    target_link_libraries(${kernels} PUBLIC ${kind} ${arg_LIBRARIES})
    target_precompile_headers(${kernels} REUSE_FROM ${kind})
  endforeach()
endfunction()

# banyan_kernel_test(SOURCE [KERNELS NAME] [PTX...]). nvcc's PTX is run once, by the
# program that sees more.
function(banyan_kernel_test source)
  if(source IN_LIST left_out)
    return()
  endif()
  string(REGEX REPLACE "\\.cc$" "" test ${source})
  string(REPLACE "/" "_" test ${test})
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "KERNELS" "PTX")
  foreach(kind ${simt_kinds})
    string(REPLACE "banyan_simt_plain" "${test}" name ${kind})
    string(REPLACE "banyan_simt_checked" "${test}_checked" name ${name})
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE ${kind}
      $<$<STREQUAL:${kind},banyan_simt_checked>:banyan_simt_hooks>)
    if(arg_KERNELS)
      string(REPLACE "banyan_simt" "${arg_KERNELS}" kernels ${kind})
      target_link_libraries(${name} PRIVATE ${kernels})
    endif()
    target_precompile_headers(${name} REUSE_FROM ${kind})
    if(BANYAN_HAS_CUDA AND arg_PTX)
      list(TRANSFORM arg_PTX PREPEND "ptx_" OUTPUT_VARIABLE ptx)
      add_dependencies(${name} ${ptx})
    endif()
    set(arguments)
    if(name STREQUAL test AND banyan_simt_checked IN_LIST simt_kinds)
      set(arguments --gtest_filter=-Architectures/*)
    endif()
    banyan_is_test(${name} ${source} unit ${arguments})
  endforeach()
endfunction()

file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cuda)
if(BANYAN_HAS_CUDA)
  banyan_ptx(sample_kernels ${simt}/sample_kernels.cu)
  banyan_ptx(gather_blocks ${CMAKE_SOURCE_DIR}/kernels/layout/gather_blocks.cu)
  foreach(codec fp8 int rotlm nuq kvarn lossless cold)
    banyan_ptx(${codec}_planes
      ${CMAKE_SOURCE_DIR}/kernels/codec/${codec}_planes.cu)
  endforeach()
  foreach(codec lossless cold)
    banyan_ptx(${codec}_encode
      ${CMAKE_SOURCE_DIR}/kernels/codec/${codec}_encode.cu)
  endforeach()
  banyan_ptx(xxh3_pieces ${CMAKE_SOURCE_DIR}/kernels/codec/xxh3_pieces.cu)
endif()
file(GLOB_RECURSE sources RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
  CONFIGURE_DEPENDS unit/testing/simt/*_kernel_test.cc)
foreach(source ${sources})
  banyan_kernel_test(${source} PTX sample_kernels)
endforeach()

set(kernels ${CMAKE_SOURCE_DIR}/kernels)
banyan_kernels(banyan_kernels_layout
  SOURCES
    ${kernels}/layout/gather_blocks.cu ${kernels}/layout/cuda_gather_blocks.cc
    ${kernels}/cuda_status.cc testing/layout_cases.cc
  LIBRARIES banyan_layout)
banyan_kernels(banyan_kernels_codec
  SOURCES
    ${kernels}/codec/fp8_planes.cu ${kernels}/codec/int_planes.cu
    ${kernels}/codec/rotlm_planes.cu ${kernels}/codec/nuq_planes.cu
    ${kernels}/codec/kvarn_planes.cu ${kernels}/codec/lossless_planes.cu
    ${kernels}/codec/lossless_encode.cu ${kernels}/codec/cold_planes.cu
    ${kernels}/codec/cold_encode.cu
    ${kernels}/codec/xxh3_pieces.cu
    ${kernels}/codec/cuda_device_codec.cc ${kernels}/codec/cuda_device_pieces.cc
    ${kernels}/cuda_status.cc
  LIBRARIES banyan_codec)
banyan_kernel_test(unit/kernels/layout/gather_blocks_kernel_test.cc
  KERNELS banyan_kernels_layout PTX gather_blocks)
banyan_kernel_test(unit/kernels/codec/device_codec_kernel_test.cc
  KERNELS banyan_kernels_codec
  PTX fp8_planes int_planes rotlm_planes nuq_planes kvarn_planes)
banyan_kernel_test(unit/kernels/codec/device_lossless_kernel_test.cc
  KERNELS banyan_kernels_codec PTX lossless_planes lossless_encode)
banyan_kernel_test(unit/kernels/codec/device_cold_kernel_test.cc
  KERNELS banyan_kernels_codec PTX cold_planes)
banyan_kernel_test(unit/kernels/codec/device_cold_encode_kernel_test.cc
  KERNELS banyan_kernels_codec PTX cold_encode)
banyan_kernel_test(unit/kernels/codec/device_cold_coder_kernel_test.cc
  KERNELS banyan_kernels_codec)
banyan_kernel_test(unit/kernels/codec/device_pieces_kernel_test.cc
  KERNELS banyan_kernels_codec PTX xxh3_pieces)
