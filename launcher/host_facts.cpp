#include "launcher/host_facts.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "launcher/units.h"

namespace reprise {

namespace {

namespace fs = std::filesystem;

// The text after "name:" or "name :" of the first such line; empty without one.
std::string field_of(const char* path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with(name)) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return {};
}

uint64_t kilobytes_of(const char* path, const std::string& name) {
  uint64_t kilobytes = 0;
  std::istringstream(field_of(path, name)) >> kilobytes;
  return kilobytes * 1024;
}

// Version 2 only: every group from the process's own up to the root may carry a limit ("max": none).
uint64_t cgroup_limit() {
  uint64_t limit = 0;
  const std::string own = field_of("/proc/self/cgroup", "0::");  // "0::/user.slice/…": the field starts with ':'
  const fs::path root = "/sys/fs/cgroup";
  for (fs::path group =
           root / fs::path(own.substr(own.find('/') == std::string::npos ? own.size() : own.find('/') + 1));
       ; group = group.parent_path()) {
    std::string text;
    std::ifstream(group / "memory.max") >> text;
    const auto value = parse_integer(text);
    if (value && *value > 0)
      limit = limit == 0 ? static_cast<uint64_t>(*value) : std::min(limit, static_cast<uint64_t>(*value));
    if (group == root || !group.has_relative_path()) return limit;
  }
}

int affinity_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

HostFacts read_host_facts() {
  HostFacts facts;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  facts.host = host;
  facts.processor = field_of("/proc/cpuinfo", "model name");
  facts.usable_cores = affinity_cores();
  facts.memory_bytes = kilobytes_of("/proc/meminfo", "MemTotal");
  facts.cgroup_limit_bytes = cgroup_limit();
  facts.resident_bytes = kilobytes_of("/proc/self/status", "VmRSS");
  const std::string flags = " " + field_of("/proc/cpuinfo", "flags") + " ";
  const auto has = [&flags](const char* flag) {
    return flags.find(std::string(" ") + flag + " ") != std::string::npos;
  };
  facts.has_avx2 = has("avx2");
  facts.has_avx512 = has("avx512f");
  facts.has_bf16 = has("avx512_bf16");
  facts.has_amx = has("amx_bf16");
  return facts;
}

}  // namespace reprise
