#include "distributed/network_interface.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <cstdlib>
#include <string>

namespace reprise {
namespace {

// The first name of a list; "" of one that excludes or that gives networks, not names.
std::string first_name(const char* variable) {
  const char* value = std::getenv(variable);
  const std::string list = value != nullptr ? value : "";
  const std::string name = list.substr(0, list.find(','));
  return name.starts_with('^') || name.find('/') != std::string::npos ? "" : name;
}

// Of the first interface whose name begins so, which is up and no loopback; 0: none.
uint32_t find_address(const ifaddrs* list, const std::string& beginning) {
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    const bool is_usable = each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET &&
                           (each->ifa_flags & IFF_UP) != 0 && (each->ifa_flags & IFF_LOOPBACK) == 0;
    if (!is_usable || !std::string(each->ifa_name).starts_with(beginning)) continue;
    return reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr.s_addr;
  }
  return 0;
}

}  // namespace

uint32_t job_address() {
  std::string name = first_name("OMPI_MCA_btl_tcp_if_include");
  if (name.empty()) name = first_name("NCCL_SOCKET_IFNAME");
  if (name.starts_with('=')) name.erase(0, 1);  // NCCL's mark for a whole name; else it takes beginnings, too
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return 0;
  uint32_t address = find_address(list, name);
  if (address == 0) address = find_address(list, "");
  freeifaddrs(list);
  return address;
}

}  // namespace reprise
