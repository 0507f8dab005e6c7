#pragma once

#include <map>
#include <string>

#include "distributed/communicator.h"
#include "launcher/config.h"
#include "training/snapshot_store.h"

namespace reprise {

// Where a run begins, the same on every rank.
struct StartPoint {
  bool continues = false;  // the run in the folder goes on; else it begins, over what is there
  std::string snapshot;    // the folder of the one that the state is from; empty: none
  Manifest manifest;       // of the snapshot
};

// The folder of a run's snapshots.
inline std::string snapshot_folder(const std::string& run_directory) { return run_directory + "/snapshots"; }

// The newest good snapshot of a run, or of a folder of snapshots. Throws DataError when there is none.
SnapshotStore::Found newest_snapshot(const std::string& path);

// Facts for the manifest of a snapshot: every setting, and what else must fit when a run goes on.
std::map<std::string, std::string> snapshot_facts(const Config& config, const std::map<std::string, std::string>& facts,
                                                  int ranks);

// Collective; rank 0 reads. Looks for the newest good snapshot of the run in its directory, says on stderr why newer
// ones are rejected, and puts what `auto` had become there into `config` when the ranks are as many. `facts`: of the
// data, the parameter table and the build. Throws SharedFailure: configuration, when the snapshot's settings differ in
// what decides the numbers (a table on stderr says how) or the folder holds a run that may not be replaced; bad input,
// when there are snapshots but no good one.
StartPoint find_start(Communicator& communicator, Config& config, const std::map<std::string, std::string>& facts);

}  // namespace reprise
