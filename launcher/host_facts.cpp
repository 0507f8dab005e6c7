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

// Every group from the process's own up to the root may carry a limit; 0: none does.
uint64_t tightest_limit(const fs::path& root, const std::string& own, const char* file) {
  constexpr uint64_t kUnlimited = uint64_t{1} << 60;  // version 1 says so with a number near 2^63
  uint64_t limit = kUnlimited;
  const size_t slash = own.find('/');
  for (fs::path group = root / (slash == std::string::npos ? "" : own.substr(slash + 1));;
       group = group.parent_path()) {
    std::string text;
    std::ifstream(group / file) >> text;
    const auto value = parse_integer(text);
    if (value && *value > 0) limit = std::min(limit, static_cast<uint64_t>(*value));
    if (group == root || !group.has_relative_path()) return limit == kUnlimited ? 0 : limit;
  }
}

// Version 2's hierarchy, or version 1's of the memory controller where there is one.
uint64_t cgroup_limit() {
  const char* groups = "/proc/self/cgroup";  // lines such as "0::/user.slice" and "4:memory:/user.slice"
  std::ifstream file(groups);
  for (std::string line; std::getline(file, line);) {
    const size_t found = line.find(":memory:");
    if (found != std::string::npos) {
      return tightest_limit("/sys/fs/cgroup/memory", line.substr(found), "memory.limit_in_bytes");
    }
  }
  return tightest_limit("/sys/fs/cgroup", field_of(groups, "0::"), "memory.max");
}

}  // namespace

HostFacts read_host_facts() {
  HostFacts facts;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  facts.host = host;
  facts.processor = field_of("/proc/cpuinfo", "model name");
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) facts.usable_cores = CPU_COUNT(&cores);
  facts.memory_bytes = kilobytes_of("/proc/meminfo", "MemTotal");
  facts.cgroup_limit_bytes = cgroup_limit();
  facts.resident_bytes = kilobytes_of("/proc/self/status", "VmRSS");
  facts.flags = " " + field_of("/proc/cpuinfo", "flags") + " ";
  return facts;
}

}  // namespace reprise
