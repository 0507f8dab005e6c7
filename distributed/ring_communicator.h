#pragma once

#include <memory>

#include "distributed/transport.h"

namespace reprise {

// The CPU communicator: ring algorithms over any transport. Tensors live on the CPU. The one communication thread of a
// rank makes every call of the transport after start-up, carries operations out in queue order (the next one fills the
// wire while the last chunks of its predecessor travel), and sleeps while bytes are under way, so that it takes little
// of the core that computes. The main thread hands over operations and waits, never without a limit. Destroying it
// abandons the transport if operations are left or a wait has failed.
std::unique_ptr<Communicator> make_ring_communicator(std::unique_ptr<Transport> transport);

// A group of one, where every operation is complete at once; no thread.
std::unique_ptr<Communicator> make_lone_communicator();

}  // namespace reprise
