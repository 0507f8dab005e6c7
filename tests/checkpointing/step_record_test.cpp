#include "checkpointing/step_record.h"

#include <gtest/gtest.h>

#include <stdexcept>

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

TEST(StepRecord, DropsTheOldestEventsButKeepsTheirSeconds) {
  StepRecord record(3);
  record.begin_step(0);
  double sum = 0;
  for (int s = 0; s < 5; ++s) {
    record.begin(EventKind::forward, s, 0);
    record.end();
    const StageEvent newest = record.events().back();
    sum += newest.end_seconds - newest.start_seconds;
  }
  const std::vector<StageEvent> events = record.events();
  ASSERT_EQ(events.size(), 3U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(events[static_cast<size_t>(i)].stage, i + 2);
  EXPECT_EQ(record.seconds(EventKind::forward), sum);
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

TEST(StepRecord, SaysWhereTheThreadIs) {
  StepRecord record;
  record.begin_step(5);
  EXPECT_EQ(record.word(), uint64_t{5} << 24);
  record.begin(EventKind::recompute, 300, 0);
  EXPECT_EQ(record.word(), (uint64_t{5} << 24) | (uint64_t{2} << 16) | 300);
  record.end();
  EXPECT_EQ(record.word(), uint64_t{5} << 24);
}

TEST(StepRecord, NeedsRoom) { EXPECT_THROW(StepRecord(0), std::invalid_argument); }

}  // namespace
}  // namespace reprise
