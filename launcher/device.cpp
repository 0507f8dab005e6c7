#include "launcher/device.h"

#include <ATen/Context.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/cuda.h>

#include <cstdlib>
#include <map>
#include <tuple>

namespace reprise {

int visible_devices() { return torch::cuda::device_count(); }

double dense_peak(const std::string& name, const std::string& compute) {
  // As the vendor's data sheets give them, without sparsity, in fp32, tf32 and 16 bits.
  constexpr std::tuple<const char*, double, double, double> kPeaks[] = {
      {"H100 PCIe", 51e12, 378e12, 756e12}, {"H100 NVL", 60e12, 417e12, 835e12}, {"H100", 67e12, 494e12, 989e12},
      {"H200", 67e12, 494e12, 989e12},      {"A100", 19.5e12, 156e12, 312e12},   {"L40S", 91.6e12, 183e12, 362e12}};
  for (const auto& [device, fp32, tf32, half] : kPeaks) {
    if (name.find(device) != std::string::npos) return compute == "fp32" ? fp32 : compute == "tf32" ? tf32 : half;
  }
  return 0;
}

std::string find_shared_device(const std::vector<std::string>& devices) {
  std::map<std::string, size_t> taken;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    const auto [first, is_new] = taken.try_emplace(devices[rank], rank);
    if (!is_new) return fmt::format("ranks {} and {} on one device ({})", first->second, rank, devices[rank]);
  }
  return {};
}

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string refusal_of(const NcclFacts& facts) {
  if (!facts.is_in_build) return "NCCL is not in this build; build with the preset cuda";
  const char* advice = "LD_LIBRARY_PATH or LD_PRELOAD may bring another";
  if (facts.loaded.size() != 1) {
    return fmt::format("expected one NCCL in the process, got {} ({}): {}", facts.loaded.size(),
                       fmt::join(facts.loaded, ", "), advice);
  }
  if (facts.header_version == facts.library_version) return {};
  return fmt::format("expected NCCL {}, got {} in {}: {}", nccl_version_text(facts.header_version),
                     nccl_version_text(facts.library_version), facts.path, advice);
}

torch::Device use_device(int index, bool tf32) {
  const torch::Device device(torch::kCUDA, static_cast<c10::DeviceIndex>(index));
  if (!std::getenv("PYTORCH_ALLOC_CONF") && !std::getenv("PYTORCH_CUDA_ALLOC_CONF")) {
    c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
  }
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // what cuBLAS needs for sums in one order
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  context.setFloat32Precision(at::Float32Backend::CUDA, at::Float32Op::ALL,
                              tf32 ? at::Float32Precision::TF32 : at::Float32Precision::IEEE);
  c10::impl::VirtualGuardImpl(torch::kCUDA).setDevice(device);
  return device;
}

}  // namespace reprise
