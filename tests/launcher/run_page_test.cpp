#include "launcher/run_page.h"

#include <gtest/gtest.h>

#include <sstream>

#include "monitoring/format.h"

namespace reprise {
namespace {

RunHistory history_of(int64_t steps) {
  RunHistory history;
  history.run.run = "first";
  history.run.model = "gpt2, 3 layers";
  history.run.plan = "=rr=";
  history.run.plan_origin = "full";
  history.run.ranks = 2;
  history.run.steps = 100;
  history.run.planned_peak_bytes = 90 << 20;
  for (int64_t step = 1; step <= steps; ++step) {
    StepReport report;
    report.step = step;
    report.loss = 5 - 0.01 * static_cast<double>(step);
    report.tokens = 1000;
    report.step_seconds = 0.5;
    report.forward_seconds = 0.1;
    report.backward_seconds = 0.4;
    report.peak_bytes_max = 80 << 20;
    report.rank_compute = {0.2, 0.2, 0.5, 1};
    history.steps.push_back(report);
  }
  return history;
}

std::string text_of(const std::vector<Fact>& facts, const std::string& name) {
  for (const Fact& fact : facts) {
    if (fact.name == name) return fact.text;
  }
  return "no " + name;
}

TEST(RunPage, FactsSayWhatIsKnown) {
  RunHistory history = history_of(50);
  history.run.restarts = 2;
  history.run.resumed_step = 40;
  history.run.budget_bytes = 100 << 20;
  history.snapshots = {{.step = 40, .seconds = 0.25}, {.step = 50, .saved = false, .problem = "no room"}};
  history.evaluations = {{.step = 50, .loss = 4.75}};
  const auto facts = facts_of(history);
  EXPECT_EQ(text_of(facts, "loss"), "4.5 nats per token");
  EXPECT_EQ(text_of(facts, "held-out"), "4.75 nats per token after step 50");
  EXPECT_EQ(text_of(facts, "speed"), "2.0k tokens/s, a step in 500.0 ms; the last steps");
  EXPECT_EQ(text_of(facts, "backward"), "80.0 %, 400.0 ms");
  EXPECT_EQ(text_of(facts, "memory"), "peak 80.0 MiB, planned 90.0 MiB, budget 100.0 MiB");
  EXPECT_EQ(text_of(facts, "rank compute"), "200.0 ms to 500.0 ms, median 200.0 ms; most: rank 1");
  EXPECT_EQ(text_of(facts, "slow"), "rank 1 computes 2.5 times the median");
  EXPECT_EQ(text_of(facts, "snapshots"), "1 saved, 1 dropped; the last, of step 50, no room");
  EXPECT_EQ(text_of(facts, "restarts"), "2, the last after step 40");
  EXPECT_EQ(text_of(facts, "weights"), "no weights");
  EXPECT_EQ(text_of(facts_of({}), "memory"), "no memory");
}

TEST(RunPage, FitsItsRoom) {
  for (const int width : {20, 40, 80, 200}) {
    for (const int height : {10, 30, 60}) {
      for (const int64_t steps : {0, 1, 50}) {
        std::istringstream page(run_page(history_of(steps), "running", {.width = width, .height = height}));
        int lines = 0;
        for (std::string line; std::getline(page, line); ++lines) EXPECT_LE(text_length(line), width) << line;
        EXPECT_LE(lines, height);
      }
    }
  }
  EXPECT_EQ(run_page(history_of(50), "", {.height = 24}).find("held-out text"), std::string::npos) << "no room";
}

TEST(RunPage, TellsProgressAndTimeLeft) {
  RunHistory history = history_of(50);
  history.evaluations = {{.step = 50, .loss = 4.75, .seconds = 25}};  // half a second for each step before
  const std::string page = run_page(history, "last news 2.0 s ago", {.height = 40, .is_ascii = true});
  EXPECT_TRUE(page.starts_with("first: last news 2.0 s ago\n")) << page;
  EXPECT_NE(page.find(".. step 50 of 100, ETA 50.0 s\n"), std::string::npos) << page;
  EXPECT_NE(page.find("memory       ##############..  peak 80.0 MiB, planned 90.0 MiB\n"), std::string::npos) << page;
  for (const char c : page) EXPECT_GT(c, 0) << page;
  history.end.emplace();
  EXPECT_EQ(run_page(history, "", {}).find("ETA"), std::string::npos);
  const std::string coloured = run_page(history, "", {.is_coloured = true});
  EXPECT_TRUE(coloured.starts_with("\x1b[1mfirst: ")) << coloured;
}

}  // namespace
}  // namespace reprise
