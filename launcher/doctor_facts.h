#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "distributed/communicator.h"

namespace reprise {

// What each rank finds of its program, its host, its place for runs and its links to others: by rank, one JSON object
// each, as `doctor --json` prints it. Collective; main thread. Creates and removes a file where `directory` is or would
// be. Throws PeerLost, and what the devices' libraries throw.
std::vector<nlohmann::ordered_json> gather_facts(Communicator& communicator, const std::string& directory);

}  // namespace reprise
