# REPRISE_CUDA=ON: onto the target `torch`, LibTorch's CUDA libraries with the one NCCL and the one CUDA runtime that
# they load themselves; and the CUDA compiler. nvcc compiles torch-free .cu files only, as C++17: CMake 3.22 to 3.25 do
# not know how to ask it for C++20.

get_filename_component(_nvidia "${_torch}/../nvidia" ABSOLUTE)
set(_libraries "${_torch}/lib/libtorch_cuda.so" "${_torch}/lib/libc10_cuda.so" "${_nvidia}/nccl/lib/libnccl.so.2"
  "${_nvidia}/cu13/lib/libcudart.so.13")
foreach(_file ${_libraries})
  if(NOT EXISTS "${_file}")
    message(FATAL_ERROR "REPRISE_CUDA=ON needs LibTorch with all its NVIDIA wheels; ${_file} is missing. "
      "Run scripts/setup.sh --cuda, or give -DREPRISE_LIBTORCH=DIR.")
  endif()
endforeach()

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(CMAKE_CUDA_COMPILER nvcc HINTS "${_nvidia}/cu13/bin" "$ENV{CUDA_HOME}/bin" "/usr/local/cuda/bin")
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "REPRISE_CUDA=ON needs nvcc 13, which is neither among LibTorch's wheels, nor on the path, nor "
      "in CUDA_HOME or /usr/local/cuda. Run scripts/setup.sh --cuda, or give -DCMAKE_CUDA_COMPILER=FILE.")
  endif()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90 CACHE STRING "GPU architectures to compile for")
endif()
if(NOT CMAKE_CUDA_HOST_COMPILER AND NOT DEFINED ENV{CUDAHOSTCXX})
  set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
endif()
# CMake tries the compiler by linking a program, for which nvcc looks into a lib64 that the wheels do not have.
set(ENV{LIBRARY_PATH} "${_nvidia}/cu13/lib:$ENV{LIBRARY_PATH}")
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR "REPRISE_CUDA=ON needs nvcc 13, the release that LibTorch was built with; "
    "${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}. Run scripts/setup.sh --cuda for that one.")
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # LibTorch brings it
# fmad: a product and a sum round twice, as on the CPU.
string(APPEND CMAKE_CUDA_FLAGS " -fmad=false -Werror all-warnings -Xcompiler=-fPIC,-Wall")
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")

target_include_directories(torch SYSTEM INTERFACE "${_nvidia}/nccl/include" ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
# Only what uses a symbol of libtorch_cuda would keep it among the needs; it registers its kernels by being loaded.
list(POP_FRONT _libraries _torch_cuda)
target_link_libraries(torch INTERFACE -Wl,--no-as-needed "${_torch_cuda}" -Wl,--as-needed ${_libraries}
  ${CMAKE_DL_LIBS})
