#pragma once

#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "monitoring/step_report.h"
#include "training/snapshot_store.h"

namespace reprise {

struct SnapshotSetting {
  std::string folder;  // of the run's snapshots
  std::string suffix;  // of unfinished ones: the run and its attempt
  int64_t keep = 2, keep_every = 0;
};

// Saves a run's flat tensors while training goes on, at most one snapshot at a time. begin() copies this rank's share
// to host memory that stays allocated; a thread writes it; poll(), at each step boundary, passes on what the threads
// report. When all ranks have written, rank 0's thread publishes the snapshot and removes old ones. A failure on any
// rank drops the save on all. Every method is collective and belongs to the main thread; the end waits for this rank's
// thread.
class SnapshotWriter {
 public:
  // The model, the tensors and `files` outlive it.
  SnapshotWriter(FileSystem& files, Communicator& communicator, const StageChain& model, const FlatLayout& layout,
                 std::vector<FlatState> states, SnapshotSetting setting);

  // Needs the one before to have ended. `manifest` without files and the `texts` of further files (name, content) count
  // on rank 0.
  void begin(Manifest manifest, std::map<std::string, std::string> texts);
  bool is_busy() const { return phase_ != Phase::idle; }
  // How a save ended, the same on every rank, with seconds from begin() on; the caller knows what it stalled.
  std::optional<SnapshotReport> poll();    // nothing: none has ended since
  std::optional<SnapshotReport> finish();  // waits for the one under way

  // Of the copies, on the rank that has most.
  static int64_t host_bytes(const FlatLayout& layout, int ranks);

 private:
  enum class Phase { idle, writing, publishing };

  std::string write_share(const std::map<std::string, std::string>& texts);
  std::string publish(const std::vector<std::string>& shares);
  SnapshotReport end(bool saved, const std::string& problem);

  FileSystem& files_;
  Communicator& communicator_;
  const StageChain& model_;
  const FlatLayout layout_;
  const std::vector<FlatState> states_;
  const SnapshotSetting setting_;
  const int64_t begin_, end_;           // this rank's share of the flat tensors, in elements
  std::vector<FlatState> host_copies_;  // of it
  Manifest manifest_;
  Phase phase_ = Phase::idle;
  double started_seconds_ = 0;
  std::future<std::string> work_;  // the last member: its end waits for the thread, which uses the others
};

}  // namespace reprise
