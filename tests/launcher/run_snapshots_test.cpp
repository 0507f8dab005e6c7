#include "launcher/run_snapshots.h"

#include <gtest/gtest.h>

#include "tests/distributed/threads_communicator.h"
#include "tests/training/tiny_trainer.h"
#include "training/errors.h"
#include "training/snapshot_store.h"

namespace reprise {
namespace {

// A run on two ranks that saves every second step; `harm` may do something to a rank's flat tensors before each save.
void save_steps(const std::string& directory, int64_t steps, const std::function<void(int rank, TinyTrainer&)>& harm) {
  run_as_threads(2, [&](Communicator& communicator) {
    Config config;
    config.run.directory = directory;
    config.snapshot.every_steps = 2;
    TinyTrainer tiny(communicator);
    RunSnapshots snapshots(config, communicator, tiny.model, tiny.flat.layout, *tiny.trainer, {}, nullptr, 1);
    const auto tell = [](const SnapshotReport& report) { EXPECT_TRUE(report.saved) << report.problem; };
    for (int64_t step = 0; step < steps; ++step) {
      tiny.step();
      harm(communicator.rank(), tiny);
      snapshots.step_ended(tell);
    }
    snapshots.finish(tell);
  });
}

std::vector<int64_t> saved_steps(const std::string& directory) {
  Disk disk;
  return SnapshotStore(disk, snapshot_folder(directory)).steps();
}

TEST(RunSnapshots, EqualReplicasAreSaved) {
  const Scratch scratch;
  save_steps(scratch.path(), 4, [](int, TinyTrainer&) {});
  EXPECT_EQ(saved_steps(scratch.path()), (std::vector<int64_t>{4, 2}));
}

TEST(RunSnapshots, DivergedReplicasAreNeverSaved) {
  const Scratch scratch;
  const auto harm = [](int rank, TinyTrainer& tiny) {
    if (rank == 1 && tiny.trainer->steps_done() == 4) flip_bit(tiny.trainer->states()[2].flat, 5, 1);
  };
  EXPECT_THROW(save_steps(scratch.path(), 6, harm), ReplicasDiverged);
  EXPECT_EQ(saved_steps(scratch.path()), std::vector<int64_t>{2});
}

}  // namespace
}  // namespace reprise
