#include <stdexcept>
#include <string>

#include "tests/spin.h"

namespace reprise {
namespace {

__global__ void spin_kernel(int64_t ticks) {
  const int64_t start = clock64();
  while (clock64() - start < ticks) {
  }
}

}  // namespace

void spin(int64_t ticks, void* stream) {
  spin_kernel<<<1, 1, 0, static_cast<cudaStream_t>(stream)>>>(ticks);
  const cudaError_t code = cudaGetLastError();
  if (code != cudaSuccess) throw std::runtime_error(std::string("spin: ") + cudaGetErrorString(code));
}

}  // namespace reprise
