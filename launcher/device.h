#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace reprise {

// CUDA devices that this process may use; 0 in a build without CUDA and without a driver. Makes no context.
int visible_devices();

struct DeviceFacts {
  std::string name, address, uuid;  // on the PCI bus; 32 hexadecimal digits, others for each slice of a device
  uint64_t memory_bytes = 0;
};

// Of a visible device. Makes no context. Throws std::runtime_error, in a build without CUDA always.
DeviceFacts describe_device(int index);

// Its dense peak by name, FLOP/s of products as precision.compute says; 0: not known.
double dense_peak(const std::string& name, const std::string& compute);

// The device that a rank takes. A scheduler that shows each rank its own one device leaves it no choice.
inline int device_of(int local_rank, int visible) { return visible < 1 ? 0 : local_rank % visible; }

// Two ranks on one device, in words; empty: none. By rank: what tells the device that it took from all others.
std::string find_shared_device(const std::vector<std::string>& devices);

// Makes a CUDA device the current one of this thread, before anything else touches CUDA, and sets what a run counts on:
// segments that grow (PYTORCH_ALLOC_CONF in the environment counts instead), sums in one order where LibTorch has a
// choice, and products of fp32 in TF32 or not.
torch::Device use_device(int index, bool tf32);

// Which NCCL this process has, and which CUDA. Needs no device.
struct NcclFacts {
  bool is_in_build = false;
  int header_version = 0, library_version = 0;  // 22809 is 2.28.9
  std::string path;                             // of the library whose functions this program calls
  std::vector<std::string> loaded;              // every library of that name in the process
  int driver_cuda = 0, build_cuda = 0;          // 13000 is 13.0: the newest that the driver knows, 0 without one; ours
};
NcclFacts nccl_facts();

// Why this NCCL must not be used, in one sentence; empty: it may. There has to be one, that of the header.
std::string refusal_of(const NcclFacts& facts);
std::string nccl_version_text(int version);

}  // namespace reprise
