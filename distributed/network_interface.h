#pragma once

#include <cstdint>
#include <string>

namespace reprise {

struct NetworkInterface {
  std::string name;      // "eth0"; empty: none is up
  uint32_t address = 0;  // IPv4, as the network orders it
  bool is_named = false;
};

// The job's interface: the one that OMPI_MCA_btl_tcp_if_include or NCCL_SOCKET_IFNAME names (scripts/mpirun.sh sets
// both), else the first that is up and no loopback.
NetworkInterface job_interface();

}  // namespace reprise
