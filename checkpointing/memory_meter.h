#pragma once

#include <cstdint>

namespace reprise {

// Exact bytes of live tensors of this process, by a counting allocator under LibTorch's CPU allocator. Process-wide by
// nature: ranks that are threads share one figure. Any thread may call it. Shared-memory maps and library scratch are
// not tensors.
class MemoryMeter {
 public:
  static void install();  // once, before the first tensor; idempotent; freed pages stay with the process from then on
  static bool is_installed();
  static uint64_t current_bytes();
  static uint64_t peak_bytes();  // since the last reset_peak()
  static void reset_peak();      // peak = current
};

}  // namespace reprise
