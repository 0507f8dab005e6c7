#include "checkpointing/step_record.h"

#include <gtest/gtest.h>

#include "tests/checkpointing/fake_device.h"

namespace reprise {
namespace {

TEST(StepRecord, KeepsEventsInOrderWithTimes) {
  StepRecord record;
  record.begin_step(3);
  record.begin(EventKind::forward, 0, 1);
  record.end();
  record.begin(EventKind::backward, 7, 1);
  record.end();
  const std::vector<StageEvent> events = record.events();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].kind, EventKind::forward);
  EXPECT_EQ(events[0].stage, 0);
  EXPECT_EQ(events[0].micro_batch, 1);
  EXPECT_EQ(events[1].kind, EventKind::backward);
  EXPECT_EQ(events[1].stage, 7);
  EXPECT_LE(events[0].start_seconds, events[0].end_seconds);
  EXPECT_LE(events[0].end_seconds, events[1].start_seconds);
  EXPECT_EQ(record.seconds(EventKind::forward), events[0].end_seconds - events[0].start_seconds);
  EXPECT_EQ(record.seconds(EventKind::recompute), 0.0);
}

C10_REGISTER_GUARD_IMPL(PrivateUse1, FakeGuard);

TEST(StepRecord, ADeviceTimesItsOwnWorkAndIsWaitedForOnlyWhenRead) {
  {
    StepRecord record;
    const double before = now_seconds();
    FakeDevice::milliseconds = 1000;
    record.begin_step(0, FakeDevice::device);
    const double after = now_seconds();
    for (const double milliseconds : {1500, 1750, 4000}) {
      FakeDevice::milliseconds = milliseconds;
      record.begin(milliseconds < 4000 ? EventKind::forward : EventKind::backward, 2, 0);
      FakeDevice::milliseconds += 125;
      record.end();
    }
    EXPECT_EQ(FakeDevice::waits, 0);
    EXPECT_NEAR(record.seconds(EventKind::forward), 0.25, 1e-9);
    EXPECT_NEAR(record.seconds(EventKind::backward), 0.125, 1e-9);
    const std::vector<StageEvent> events = record.events();
    ASSERT_EQ(events.size(), 3U);
    EXPECT_EQ(FakeDevice::waits, 6) << "each point is read once";
    EXPECT_GE(events[0].start_seconds, before + 0.5);
    EXPECT_LE(events[0].start_seconds, after + 0.5);
    EXPECT_NEAR(events[2].start_seconds - events[0].start_seconds, 2.5, 1e-9);
    record.begin_step(1);
    record.begin(EventKind::forward, 2, 0);
    record.end();
    EXPECT_LT(record.seconds(EventKind::forward), 0.1) << "by the host's clock again";
  }
  EXPECT_EQ(FakeDevice::living_events, 0);
}

TEST(StepRecord, ForgetsTheStepBefore) {
  StepRecord record;
  record.begin_step(0);
  record.begin(EventKind::recompute, 1, 0);
  record.end();
  record.begin_step(1);
  EXPECT_TRUE(record.events().empty());
  EXPECT_EQ(record.seconds(EventKind::recompute), 0.0);
}

TEST(StepRecord, TellsOfEveryMove) {
  StepRecord record;
  std::vector<uint64_t> words;
  record.tell_moves_to([&](uint64_t word) { words.push_back(word); });
  record.begin_step(5);
  record.begin(EventKind::recompute, 300, 0);
  record.end();
  const uint64_t step = uint64_t{5} << 24;
  EXPECT_EQ(words, (std::vector<uint64_t>{step, step | (uint64_t{2} << 16) | 300, step}));
}

}  // namespace
}  // namespace reprise
