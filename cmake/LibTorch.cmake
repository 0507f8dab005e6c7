# Imports LibTorch as the target `torch`: libtorch_cpu and libc10 linked directly, because the wheel's own package
# config demands a CUDA toolkit even for CPU programs. Order of search: -DREPRISE_LIBTORCH=DIR (a folder with include/
# and lib/), then the virtual environment that scripts/setup.sh makes under $REPRISE_CACHE (default ~/.cache/reprise).

set(REPRISE_LIBTORCH "" CACHE PATH "LibTorch folder with include/ and lib/; empty: the one scripts/setup.sh installed")

set(_torch "${REPRISE_LIBTORCH}")
set(_torch_from "REPRISE_LIBTORCH")
if(NOT _torch)
  set(_cache "$ENV{REPRISE_CACHE}")
  if(NOT _cache)
    set(_cache "$ENV{HOME}/.cache/reprise")
  endif()
  file(GLOB _torch "${_cache}/venv/lib/python3*/site-packages/torch")
  set(_torch_from "the wheel in ${_cache}")
endif()
if(NOT EXISTS "${_torch}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch 2.11 is not in '${_torch}'. Run scripts/setup.sh, or give -DREPRISE_LIBTORCH=DIR.")
endif()
file(STRINGS "${_torch}/include/torch/headeronly/version.h" _torch_version REGEX "VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
string(REGEX MATCHALL "[0-9]+" _torch_version "${_torch_version}")
list(JOIN _torch_version "." REPRISE_TORCH_VERSION)
message(STATUS "LibTorch ${REPRISE_TORCH_VERSION}: ${_torch} (${_torch_from})")

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)

# The wheel brings the CUDA runtime that libtorch_cpu names among its needs; it lives beside the torch folder.
set(REPRISE_RUNTIME_PATHS "${_torch}/lib")
foreach(_dir "${_torch}/../nvidia/cu13/lib" "${_torch}/../nvidia/nccl/lib")
  get_filename_component(_dir "${_dir}" ABSOLUTE)
  if(IS_DIRECTORY "${_dir}")
    list(APPEND REPRISE_RUNTIME_PATHS "${_dir}")
  endif()
endforeach()

add_library(torch INTERFACE)
target_include_directories(torch SYSTEM INTERFACE "${_torch}/include" "${_torch}/include/torch/csrc/api/include")
target_link_libraries(torch INTERFACE "${_torch}/lib/libtorch_cpu.so" "${_torch}/lib/libc10.so"
  Threads::Threads OpenMP::OpenMP_CXX)
target_link_options(torch INTERFACE -Wl,--allow-shlib-undefined)
foreach(_dir ${REPRISE_RUNTIME_PATHS})
  target_link_options(torch INTERFACE "-Wl,-rpath,${_dir}")
endforeach()
