#pragma once

#include <cstdint>

namespace reprise {

// The IPv4 address, as the network orders it, of the job's interface: the one that OMPI_MCA_btl_tcp_if_include or
// NCCL_SOCKET_IFNAME names (scripts/mpirun.sh sets both), else the first that is up and no loopback. 0: there is none.
uint32_t job_address();

}  // namespace reprise
