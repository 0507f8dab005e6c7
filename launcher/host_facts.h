#pragma once

#include <cstdint>
#include <string>

namespace reprise {

// What the operating system says of this machine and this process.
struct HostFacts {
  std::string host, processor;
  int usable_cores = 1;             // by the process's affinity
  uint64_t memory_bytes = 0;        // of the machine
  uint64_t cgroup_limit_bytes = 0;  // the tightest on the way to the root; 0: none
  uint64_t resident_bytes = 0;      // of this process
  std::string flags;                // of the processor: " fpu vme … avx2 … ", with a space at either end
};

HostFacts read_host_facts();

}  // namespace reprise
