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

// A run on one rank with its snapshots.
void with_snapshots(const Config& config, const std::function<void(TinyTrainer&, RunSnapshots&)>& test) {
  run_as_threads(1, [&](Communicator& communicator) {
    TinyTrainer tiny(communicator);
    RunSnapshots snapshots(config, communicator, tiny.model, tiny.flat.layout, *tiny.trainer, {}, nullptr, 1);
    test(tiny, snapshots);
  });
}

TEST(RunSnapshots, AStopIsGivenTimeForItsSaveAndForOneUnderWay) {
  const Scratch scratch;
  Config config;
  config.run.directory = scratch.path();
  config.snapshot.every_steps = 2;
  with_snapshots(config, [&](TinyTrainer& tiny, RunSnapshots& snapshots) {
    const auto tell = [](const SnapshotReport& report) { EXPECT_TRUE(report.saved) << report.problem; };
    const double one = first_save_seconds(tiny.flat.layout);
    tiny.step();
    EXPECT_EQ(snapshots.seconds_to_stop(), one);
    snapshots.step_ended(tell);
    tiny.step();  // a save begins when this one ends
    EXPECT_EQ(snapshots.seconds_to_stop(), 2 * one);
    snapshots.step_ended(tell);
    tiny.step();
    EXPECT_EQ(snapshots.seconds_to_stop(), 2 * one);
    snapshots.finish([&](const SnapshotReport& report) {
      EXPECT_TRUE(report.saved) << report.problem;
      EXPECT_NE(report.seconds, one);
    });
    EXPECT_NE(snapshots.seconds_to_stop(), one);  // it was measured
  });
}

TEST(RunSnapshots, ADroppedSaveSaysNothingOfTheTimeThatOneTakes) {
  const Scratch scratch;
  Config config;
  config.run.directory = scratch / "no folder";
  config.snapshot.every_steps = 1000;
  with_snapshots(config, [](TinyTrainer& tiny, RunSnapshots& snapshots) {
    tiny.step();
    const auto tell = [](const SnapshotReport& report) { EXPECT_FALSE(report.saved); };
    snapshots.save(tell);
    snapshots.finish(tell);
    EXPECT_EQ(snapshots.seconds_to_stop(), first_save_seconds(tiny.flat.layout));
  });
}

TEST(RunSnapshots, ASaveMayTakeAsLongAsAllThatIsReadAgainForItFromASlowDisk) {
  const Scratch scratch;
  Config config;
  config.run.directory = scratch.path();
  config.snapshot.every_steps = 1000;
  config.snapshot.keep = 9'999'999;
  run_as_threads(1, [&](Communicator& communicator) {
    TinyTrainer tiny(communicator);
    RunSnapshots snapshots(config, communicator, tiny.model, tiny.flat.layout, *tiny.trainer, {}, nullptr, 1);
    const double seconds = longest_disk_seconds(config, tiny.flat.layout);
    EXPECT_NEAR(seconds, 12.0 * static_cast<double>(tiny.flat.layout.numel), 1e-3);  // 10 MB a second
    tiny.step();
    snapshots.save([](const SnapshotReport&) {});
    EXPECT_EQ(communicator.pulse().standing().limit_seconds, seconds);
    tiny.step();
    EXPECT_LT(communicator.pulse().standing().limit_seconds, seconds);
    snapshots.finish([](const SnapshotReport&) {});
    EXPECT_EQ(communicator.pulse().standing().limit_seconds, seconds);
  });
}

}  // namespace
}  // namespace reprise
