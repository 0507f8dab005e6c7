#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <link.h>
#include <nccl.h>

#include <cstring>
#include <stdexcept>

#include "launcher/device.h"

namespace reprise {

DeviceFacts describe_device(int index) {
  cudaDeviceProp properties{};
  char address[32] = "";
  cudaError_t code = cudaGetDeviceProperties(&properties, index);
  if (code == cudaSuccess) code = cudaDeviceGetPCIBusId(address, sizeof address, index);
  if (code != cudaSuccess) throw std::runtime_error(fmt::format("CUDA device {}: {}", index, cudaGetErrorString(code)));
  const auto* uuid = reinterpret_cast<const uint8_t*>(properties.uuid.bytes);
  return {properties.name, address, fmt::format("{:02x}", fmt::join(uuid, uuid + 16, "")), properties.totalGlobalMem};
}

NcclFacts nccl_facts() {
  NcclFacts facts{.is_in_build = true, .header_version = NCCL_VERSION_CODE};
  ncclGetVersion(&facts.library_version);
  cudaDriverGetVersion(&facts.driver_cuda);
  cudaRuntimeGetVersion(&facts.build_cuda);
  Dl_info where{};
  if (dladdr(reinterpret_cast<const void*>(&ncclGetVersion), &where)) facts.path = where.dli_fname;
  const auto note = [](dl_phdr_info* library, size_t, void* loaded) {
    if (!std::strstr(library->dlpi_name, "libnccl.so")) return 0;
    static_cast<std::vector<std::string>*>(loaded)->push_back(library->dlpi_name);
    return 0;
  };
  dl_iterate_phdr(note, &facts.loaded);
  return facts;
}

}  // namespace reprise
