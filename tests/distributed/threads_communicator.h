#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "distributed/communicator.h"

namespace reprise {

// Ranks as threads of one process. Same contract as every other backend, deadline included.
std::vector<std::unique_ptr<Communicator>> make_threads_communicators(int size);

// Runs body(rank's communicator) on `size` threads and joins them. Rethrows the first exception after all have ended; a
// rank that throws makes the others' waits end with PeerLost.
void run_as_threads(int size, const std::function<void(Communicator&)>& body);

}  // namespace reprise
