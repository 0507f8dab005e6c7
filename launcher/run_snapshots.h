#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "launcher/config.h"
#include "launcher/run_directory.h"
#include "launcher/start_point.h"
#include "monitoring/step_report.h"
#include "training/run_lock.h"
#include "training/snapshot_writer.h"
#include "training/trainer.h"

namespace reprise {

// The right to write a run's directory, which it makes; says on stderr when it was taken from a process that died.
// Throws ConfigError when another process holds it.
std::unique_ptr<RunLock> lock_run(const Config& config);

// Collective: fills the trainer's flat tensors, from the snapshot that the run goes on from, from what run.init names,
// or with first values that are a function of the seed. Rank 0 reads.
void fill_state(const StartPoint& start, const Config& config, Trainer& trainer, StageChain& model, FlatModel& flat,
                Communicator& communicator);

// What a save is taken to last until one has been measured, and how long any disk work may last before it counts as
// hung: as long as to write a snapshot and read `keep` others from a slow disk.
double first_save_seconds(const FlatLayout& layout);
double longest_disk_seconds(const Config& config, const FlatLayout& layout);

// Saves a run while it trains, as snapshot.* says. Collective, main thread.
class RunSnapshots {
 public:
  // `facts` as for find_start(). `directory`: on rank 0 only. `attempt` of the run, the same on every rank.
  RunSnapshots(const Config& config, Communicator& communicator, const StageChain& model, const FlatLayout& layout,
               const Trainer& trainer, const std::map<std::string, std::string>& facts, const RunDirectory* directory,
               int64_t attempt);

  // At the end of every step, once it is reported: how a save ended that was under way, and a new one where one is due.
  // save(): one in any case, after the end of the one under way. Both throw ReplicasDiverged instead of saving that.
  using Tell = std::function<void(const SnapshotReport&)>;
  void step_ended(const Tell& tell);
  void save(const Tell& tell);
  void finish(const Tell& tell);  // waits for the one under way

  // At the end of a step, before step_ended(): what a stop after the next one takes, with a save under way by then.
  double seconds_to_stop() const { return save_seconds_ * (writer_.is_busy() || is_due() ? 2 : 1); }

 private:
  bool is_due() const;
  void report(std::optional<SnapshotReport> ended, const Tell& tell);

  const Config& config_;
  const Trainer& trainer_;
  const std::map<std::string, std::string> facts_;
  const RunDirectory* const directory_;
  const double longest_seconds_;  // of a wait for a save
  double save_seconds_;           // what the last one took
  double stall_seconds_ = 0;      // of the save under way
  Disk disk_;
  SnapshotWriter writer_;
};

}  // namespace reprise
