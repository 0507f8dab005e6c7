#include "distributed/network_interface.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <cstdlib>

namespace reprise {
namespace {

// The first name of a list; "" of one that excludes or that gives networks, not names.
std::string first_name(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr) return {};
  std::string list(value);
  if (list.starts_with('=')) list.erase(0, 1);  // NCCL's mark for a whole name
  const std::string name = list.substr(0, list.find(','));
  return name.starts_with('^') || name.find('/') != std::string::npos ? "" : name;
}

}  // namespace

NetworkInterface job_interface() {
  std::string name = first_name("OMPI_MCA_btl_tcp_if_include");
  if (name.empty()) name = first_name("NCCL_SOCKET_IFNAME");
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return {};
  NetworkInterface found;
  for (const ifaddrs* each = list; each != nullptr && found.name.empty(); each = each->ifa_next) {
    const bool is_usable = each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET &&
                           (each->ifa_flags & IFF_UP) != 0 && (each->ifa_flags & IFF_LOOPBACK) == 0;
    if (name.empty() ? !is_usable
                     : each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET || name != each->ifa_name) {
      continue;
    }
    found = {each->ifa_name, reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr.s_addr, !name.empty()};
  }
  freeifaddrs(list);
  return found;
}

}  // namespace reprise
