#pragma once

#include <torch/types.h>

#include <cstdint>

namespace reprise {

// Exact bytes of live tensors of this process, by a counting allocator under LibTorch's CPU allocator or, once it
// follows a device, by the allocator there. Process-wide by nature: ranks that are threads share one figure. Any thread
// may call it. Shared-memory maps and library scratch are not tensors.
class MemoryMeter {
 public:
  static void install();  // once, before the first tensor; idempotent; freed pages stay with the process from then on
  static bool is_installed();
  static void follow(torch::Device device);  // from now on all figures are that device's
  static uint64_t current_bytes();
  static uint64_t peak_bytes();  // since the last reset_peak()
  static void reset_peak();      // peak = current
  static uint64_t idle_bytes();  // reserved by a device's allocator beside tensors: fragmentation; 0 on the CPU
};

}  // namespace reprise
