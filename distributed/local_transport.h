#pragma once

#include <memory>
#include <vector>

#include "distributed/transport.h"

namespace reprise {

// Ranks that are threads of this process: a send publishes its pointer, the receiver copies. Once a rank is gone,
// transfers that need it throw PeerLost at once.
std::vector<std::unique_ptr<Transport>> make_local_transports(int size);

}  // namespace reprise
