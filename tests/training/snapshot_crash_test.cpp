// What is left of a run's snapshots when the disk refuses, loses or changes something: each promise over many random
// histories. REPRISE_HISTORIES: how many of each; the default is quick.

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "tests/distributed/threads_communicator.h"
#include "tests/training/crash_disk.h"
#include "training/flat_model.h"
#include "training/snapshot_writer.h"

namespace reprise {
namespace {

constexpr const char* kRun = "run";
constexpr const char* kFolder = "run/snapshots";

int64_t histories(int64_t quick) {
  const char* count = std::getenv("REPRISE_HISTORIES");
  return count == nullptr ? quick : std::atoll(count);
}

// A run on a disk: the model is the smallest there is, what it trains is the number of the step.
class SnapshotCrash : public ::testing::Test {
 protected:
  static ModelConfig tiny() {
    return ModelConfig{.family = Family::gpt2, .layers = 1, .width = 4, .heads = 1, .context = 2, .vocabulary = 4}
        .resolved();
  }

  // Ends when what is left of a dropped save is removed, too.
  bool save(CrashDisk& disk, int64_t step) {
    SnapshotWriter snapshots(disk, *communicator_, model_, flat_.layout,
                             {{"parameters", flat_.parameters}, {"first_moment", flat_.gradients}},
                             {.folder = kFolder, .suffix = "run-1", .keep = 2});
    flat_.parameters.fill_(static_cast<double>(step));
    snapshots.begin({.progress = {.step = step}}, {{"config.yaml", "steps: 1"}});
    const std::optional<SnapshotReport> outcome = snapshots.finish();
    EXPECT_EQ(outcome->step, step);
    return outcome->saved;
  }

  // The same calls in the same order, without threads and tensors: thousands of histories a second.
  static bool save_quickly(CrashDisk& disk, int64_t step, int64_t keep_every = 0) {
    SnapshotStore store(disk, kFolder);
    try {
      const std::string folder = store.begin(step, "run-1");
      Manifest manifest{.progress = {.step = step}};
      for (const char* name : {"state-00000-of-00001.safetensors", "config.yaml"}) {
        const std::string bytes(static_cast<size_t>(100 + step % 7), static_cast<char>('a' + step % 26));
        manifest.files.push_back(write_file(disk, folder, name, static_cast<int64_t>(bytes.size()),
                                            [&](const ByteSink& write) { write(bytes.data(), bytes.size()); }));
      }
      store.publish(folder, manifest);
    } catch (const StorageError&) {
      refused_by_disk([&] { store.sweep(); });
      return false;
    }
    refused_by_disk([&] { store.retain(2, keep_every); });
    return true;
  }
  static void refused_by_disk(const std::function<void()>& work) {
    try {
      work();
    } catch (const StorageError&) {
    }
  }

  // Steps of good snapshots, newest first.
  static std::vector<int64_t> good(CrashDisk& disk) {
    std::vector<int64_t> steps;
    const SnapshotStore store(disk, kFolder);
    for (const int64_t step : store.steps()) {
      try {
        if (verify_snapshot(disk, store.path_of(SnapshotStore::name_of(step))).progress.step == step) {
          steps.push_back(step);
        }
      } catch (const DataError&) {
      }
    }
    return steps;
  }

  static int64_t newest(CrashDisk& disk, std::vector<std::string>* rejected = nullptr) {
    const auto found = SnapshotStore(disk, kFolder).newest_good([&](const std::string& name, const std::string&) {
      if (rejected) rejected->push_back(name);
    });
    return found ? found->manifest.progress.step : 0;
  }

  static void prepare(CrashDisk& disk) {
    disk.make_folder(kRun);
    disk.sync_folder("");
  }

  StageChain model_{tiny()};
  FlatModel flat_{model_, true};
  std::vector<std::unique_ptr<Communicator>> communicators_ = make_threads_communicators(1);
  Communicator* communicator_ = communicators_[0].get();
};

TEST_F(SnapshotCrash, WhateverCallFailsTheOlderSnapshotIsThereAndTheNextSaveWorks) {
  int64_t dropped = 0, calls = 1;
  for (int64_t call = 0; call < calls; ++call) {
    CrashDisk disk(static_cast<uint64_t>(call));
    prepare(disk);
    ASSERT_TRUE(save(disk, 1));
    const int64_t before = disk.calls();
    ASSERT_TRUE(save(disk, 2));
    calls = disk.calls() - before;  // the third one makes some more, to remove the first
    disk.fail_at(call);
    const bool is_saved = save(disk, 3);
    dropped += is_saved ? 0 : 1;
    EXPECT_GE(newest(disk), is_saved ? 3 : 2) << "call " << call;
    EXPECT_TRUE(save(disk, 4)) << "call " << call;
    EXPECT_EQ(newest(disk), 4) << "call " << call;
  }
  EXPECT_EQ(dropped, calls);
  EXPECT_GT(calls, 20);
}

TEST_F(SnapshotCrash, ADroppedSaveGoesAndWhatAnotherRankHasBegunSinceStays) {
  CrashDisk disk(1);
  prepare(disk);
  ASSERT_TRUE(save(disk, 1));
  const std::string next = SnapshotStore(disk, kFolder).begin(3, "run-1");
  write_file(disk, next, "state-00001-of-00002.safetensors", 1, [](const ByteSink& write) { write("a", 1); });
  disk.fail_at(2);
  ASSERT_FALSE(save(disk, 2));
  EXPECT_EQ(disk.list(kFolder), (std::vector<std::string>{"snapshot-00000001", "snapshot-00000003.tmp-run-1"}));
  EXPECT_EQ(disk.list(next).size(), 1u);
}

TEST_F(SnapshotCrash, WhereverTheMachineGoesDownNoAcknowledgedSnapshotIsLost) {
  std::mt19937_64 random(7);
  int64_t crashes = 0;
  for (const int64_t wanted = histories(3000); crashes < wanted;) {
    CrashDisk disk(random());
    prepare(disk);
    int64_t acknowledged = 0, step = 0;
    for (int life = 0; life < 8; ++life) {
      disk.crash_at(static_cast<int64_t>(random() % 120));
      for (int save = 0; save < 100 && !disk.has_crashed(); ++save) {
        if (save_quickly(disk, ++step)) acknowledged = step;
      }
      ASSERT_TRUE(disk.has_crashed());
      ++crashes;
      disk.restart();
      const int64_t found = newest(disk);
      ASSERT_GE(found, acknowledged) << "crash " << crashes;
      ASSERT_LE(found, step) << "crash " << crashes;
      SnapshotStore(disk, kFolder).sweep();  // as a start does
      step = found;
    }
  }
}

TEST_F(SnapshotCrash, NoHistoryLeavesFewerThanTwoGoodSnapshotsOnceThereWereTwo) {
  std::mt19937_64 random(11);
  for (int64_t history = 0; history < histories(600); ++history) {
    CrashDisk disk(random());
    prepare(disk);
    const int64_t keep_every = random() % 2 == 0 ? 0 : 3;
    std::set<int64_t> durable;  // acknowledged, or there after a crash: a save that was dropped may still be seen
    for (int64_t event = 0, step = 0; event < 10; ++event) {
      size_t expected = std::ranges::count_if(good(disk), [&](int64_t s) { return durable.contains(s); });
      const uint64_t kind = random() % 8;
      if (kind == 0 && expected > 0) {  // damage: what is lost to it is nobody's fault, what follows must not lose more
        const std::vector<int64_t> steps = SnapshotStore(disk, kFolder).steps();
        const std::string path =
            SnapshotStore(disk, kFolder).path_of(SnapshotStore::name_of(steps[random() % steps.size()]));
        std::string* bytes = disk.bytes_of(path + "/manifest.json");
        if (bytes && !bytes->empty()) (*bytes)[random() % bytes->size()] ^= 1;
        continue;
      }
      if (kind == 1) disk.fail_at(static_cast<int64_t>(random() % 60));
      if (kind == 2) disk.crash_at(static_cast<int64_t>(random() % 60));
      if (kind == 3) {
        SnapshotStore(disk, kFolder).sweep();
      } else {
        const bool is_saved = save_quickly(disk, ++step, keep_every);
        if (is_saved) durable.insert(step);
        expected += is_saved ? 1 : 0;
      }
      if (disk.has_crashed()) {
        disk.restart();
        for (const int64_t left : good(disk)) durable.insert(left);
      }
      disk.restart();
      ASSERT_GE(good(disk).size(), std::min<size_t>(2, expected)) << "history " << history << ", event " << event;
    }
  }
}

TEST_F(SnapshotCrash, EveryDamageIsFoundAndTheOlderSnapshotIsUsed) {
  std::mt19937_64 random(13);
  CrashDisk disk(13);
  prepare(disk);
  ASSERT_TRUE(save_quickly(disk, 1));
  ASSERT_TRUE(save_quickly(disk, 2));
  const std::string older = std::string(kFolder) + "/snapshot-00000001/";
  const std::string newer = std::string(kFolder) + "/snapshot-00000002/";
  const std::vector<std::string> names = disk.list(newer.substr(0, newer.size() - 1));
  ASSERT_EQ(names.size(), 3u);
  for (int64_t damage = 0; damage < histories(2000); ++damage) {
    const std::string name = names[random() % names.size()];
    std::string& bytes = *disk.bytes_of(newer + name);
    const std::string whole = bytes;
    const size_t at = random() % bytes.size();
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes.resize(at);
        break;
      case 2:
        bytes.replace(at, 64, std::min<size_t>(64, bytes.size() - at), '\0');
        break;
      case 3:
        bytes = *disk.bytes_of((random() % 2 ? older : newer) + names[random() % names.size()]);
        break;  // swapped
      case 4:
        disk.rename(newer + name, newer + "lost");
        break;
    }
    std::vector<std::string> rejected;
    const bool is_same = disk.bytes_of(newer + name) != nullptr && bytes == whole;
    EXPECT_EQ(newest(disk, &rejected), is_same ? 2 : 1) << "damage " << damage << " to " << name;
    EXPECT_EQ(rejected.size(), is_same ? 0u : 1u);
    if (disk.bytes_of(newer + "lost") != nullptr) disk.rename(newer + "lost", newer + name);
    *disk.bytes_of(newer + name) = whole;
  }
  EXPECT_EQ(newest(disk), 2);
}

}  // namespace
}  // namespace reprise
