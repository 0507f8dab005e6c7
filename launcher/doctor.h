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

enum class Health { ok, warn, fail };  // green, yellow, red

struct Check {
  std::string name;
  Health health = Health::ok;
  std::string found;  // of several hosts the worst, by name
  std::string mend;   // what to type or set; empty when ok
};

// Judges what gather_facts() returns, by rank. Pure. Of one host there is no check of interfaces and clocks, of one
// rank none of links.
std::vector<Check> check_job(const std::vector<nlohmann::ordered_json>& ranks);

}  // namespace reprise
