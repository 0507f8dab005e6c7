#include "distributed/verdict.h"

#include <gtest/gtest.h>

namespace reprise {
namespace {

constexpr double kLimit = 10, kDeadline = 10;

Call sum_of(uint64_t bytes) { return {bytes, Call::sum}; }

Witness alive(bool waits, double idle_seconds = 0.1, std::vector<Call> calls = {}) {
  Witness witness{.is_heard = true, .silent_seconds = 0.05, .idle_seconds = idle_seconds};
  witness.standing = {.position = 7, .limit_seconds = kLimit, .is_waiting = waits, .calls = calls.size()};
  for (size_t n = 0; n < calls.size(); ++n) witness.standing.last_calls[n % Standing::kCalls] = calls[n];
  return witness;
}

Verdict judge_all(const std::vector<Witness>& witnesses) {
  std::vector<std::string> names;
  for (size_t rank = 0; rank < witnesses.size(); ++rank) names.push_back("rank " + std::to_string(rank) + " on h");
  return judge(
      witnesses, names, [](uint64_t position) { return "place " + std::to_string(position); }, kDeadline);
}

void expect(const Verdict& verdict, Finding finding, int rank, const std::string& text) {
  EXPECT_EQ(verdict.finding, finding) << verdict.text;
  EXPECT_EQ(verdict.rank, rank);
  EXPECT_NE(verdict.text.find(text), std::string::npos) << verdict.text;
}

TEST(Verdict, NoneWhileNobodyIsOverdue) {
  EXPECT_EQ(judge_all({alive(true, kLimit - 1), alive(false, kLimit - 1)}).finding, Finding::none);
  Witness quiet = alive(false, kLimit + 5);
  quiet.silent_seconds = kLimit + 5;
  EXPECT_EQ(judge_all({alive(true), quiet}).finding, Finding::none) << "its beats get lost, and nobody waits for it";
}

TEST(Verdict, ADeadRankNeedsNoLimitUnlessItSaidGoodbye) {
  Witness dead = alive(false);
  dead.is_dead = true;
  expect(judge_all({alive(false), alive(false), dead}), Finding::dead, 2,
         "rank 2 on h is dead: its process ended at place 7");
  dead.is_leaving = true;
  EXPECT_EQ(judge_all({alive(false), dead}).finding, Finding::none);
}

TEST(Verdict, ASilentRankIsNamedAndNotThoseThatWaitForIt) {
  Witness silent = alive(false, kLimit + 0.5);
  silent.silent_seconds = kLimit + 0.4;
  expect(judge_all({alive(true, kLimit + 0.1), silent, alive(true, kLimit + 0.2)}), Finding::silent, 1,
         "rank 1 on h is silent: no sign of life for 10.4 s, last seen at place 7");
  silent.standing.is_waiting = true;
  expect(judge_all({alive(true, kLimit + 0.1), alive(true, kLimit + 0.1), silent}), Finding::silent, 2, "silent");
}

TEST(Verdict, ASilentRankGetsNoMoreTimeInASave) {
  Witness silent = alive(false, kDeadline + 0.5), waits = alive(true, kDeadline + 0.2);
  silent.silent_seconds = kDeadline + 0.4;
  silent.standing.limit_seconds = waits.standing.limit_seconds = 10 * kDeadline;
  expect(judge_all({waits, silent}), Finding::silent, 1, "silent");
  silent.silent_seconds = 0.1;
  EXPECT_EQ(judge_all({waits, silent}).finding, Finding::none) << "it is alive, and may take its time";
}

TEST(Verdict, AStuckRankIsAliveDoesNotWaitAndDoesNotMove) {
  expect(judge_all({alive(true, kLimit + 0.2), alive(true, kLimit + 0.3), alive(false, kLimit + 0.1)}), Finding::stuck,
         2, "rank 2 on h is stuck: alive, but for 10.1 s at place 7");
  expect(judge_all({alive(false, kLimit + 0.2), alive(false, kLimit + 0.3)}), Finding::stuck, 1, "stuck");
}

TEST(Verdict, ASlowRankMovesAndEndsNothing) {
  const Verdict verdict = judge_all({alive(true, kLimit + 2), alive(false, 1)});
  expect(verdict, Finding::slow, 1, "rank 1 on h is slow: rank 0 on h has waited 12.0 s");
  EXPECT_FALSE(verdict.is_end());
  EXPECT_EQ(judge_all({alive(true, kLimit + 2), alive(false, kLimit - 1)}).finding, Finding::none) << "or stuck";
}

TEST(Verdict, ANetworkThatDeliversNothingIsNamed) {
  expect(judge_all({alive(true, kLimit + 1), alive(true, kLimit + 2)}), Finding::undelivered, 1, "nothing arrives");
  EXPECT_EQ(judge_all({alive(true, kLimit + 1), alive(true, kLimit - 1)}).finding, Finding::none);
}

TEST(Verdict, WhoLeavesExplainsItself) {
  Witness leaving = alive(false, kLimit + 9);
  leaving.is_leaving = true;
  EXPECT_EQ(judge_all({alive(true, kLimit + 1), leaving}).finding, Finding::none);
}

TEST(Verdict, ARankThatIsNotHeardIsNotJudged) {
  Witness unheard;
  unheard.silent_seconds = unheard.idle_seconds = 1e3;
  EXPECT_EQ(judge_all({alive(true, 1), unheard}).finding, Finding::none);
  EXPECT_EQ(judge_all({alive(true, kLimit + 1), unheard}).finding, Finding::none)
      << "the last resort is the wait itself";
}

TEST(Verdict, OtherCallsAreAMismatchWithoutALimit) {
  const std::vector<Call> usual{sum_of(8), sum_of(16), sum_of(32)};
  expect(
      judge_all({alive(true, 0, usual), alive(true, 0, {sum_of(8), sum_of(32)}), alive(true, 0, usual)}),
      Finding::mismatch, 1,
      "rank 1 on h makes another call than rank 0 on h: its call 2 is an all-reduce of 32 bytes of Byte at element 0, "
      "there an all-reduce of 16 bytes of Byte at element 0");
  expect(judge_all({alive(true, 0, usual), alive(true, 0, {sum_of(16)})}), Finding::mismatch, 1, "its call 1");
  expect(judge_all({alive(true, 0, {sum_of(16)}), alive(true, 0, usual), alive(true, 0, usual)}), Finding::mismatch, 0,
         "rank 0 on h makes another call than rank 1 on h");
  EXPECT_EQ(judge_all({alive(true, 0, usual), alive(true, 0, {sum_of(8)})}).finding, Finding::none) << "it is behind";
  const std::vector<Call> odd{sum_of(8), sum_of(32)};
  EXPECT_EQ(judge_all({alive(true, 0, odd), alive(true, 0, usual), alive(true, 0.1, {sum_of(8)})}).finding,
            Finding::none)
      << "the third one will show who is odd";
  expect(judge_all({alive(true, 3, odd), alive(true, 3, usual), alive(false, 3, {sum_of(8)})}), Finding::mismatch, 1,
         "its call 2");
}

TEST(Verdict, OnlyTheLastCallsAreCompared) {
  std::vector<Call> early(200, sum_of(8)), late = early;
  late[100] = sum_of(16);
  EXPECT_EQ(judge_all({alive(true, 0, early), alive(true, 0, late)}).finding, Finding::none);
  late[150] = sum_of(16);
  EXPECT_EQ(judge_all({alive(true, 0, early), alive(true, 0, late)}).finding, Finding::mismatch);
}

}  // namespace
}  // namespace reprise
