#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "monitoring/json_lines.h"
#include "monitoring/json_text.h"
#include "tests/scratch.h"

namespace reprise {
namespace {

class JsonLinesReading : public testing::Test {
 protected:
  std::string path() const { return folder_ / "metrics.jsonl"; }
  const Scratch folder_;
};

RunStart start_after(int64_t step) {
  RunStart run;
  run.run = "mine";
  run.steps = 10;
  run.resumed_step = step;
  run.restarts = 3;
  run.budget_bytes = 1 << 30;
  return run;
}

std::vector<int64_t> steps_of(const JsonLinesReader& reader) {
  std::vector<int64_t> steps;
  for (const StepReport& step : reader.history().steps) steps.push_back(step.step);
  return steps;
}

TEST_F(JsonLinesReading, GivesBackWhatWasWritten) {
  StepReport step;
  step.step = 7;
  step.loss = std::numeric_limits<double>::quiet_NaN();
  step.grad_norm = -std::numeric_limits<double>::infinity();
  step.skipped = true;
  step.skip_reason = "spike";
  step.samples = {80, 95};
  step.peak_bytes_max = 1ull << 40;
  step.rank_compute = {0.1, 0.2, 0.3, 5};
  RunEnd end;
  end.weights_xxh3 = "00ff";
  const auto sink = make_json_lines(path());
  sink->start(start_after(0));
  sink->step(step);
  sink->evaluation({7, 1.5, 4096, 0.25});
  sink->snapshot({.step = 7, .saved = false, .problem = "no room", .bytes = 9});
  sink->end(end);
  JsonLinesReader reader(path());
  EXPECT_TRUE(reader.read());
  EXPECT_FALSE(reader.read());
  const RunHistory& history = reader.history();
  EXPECT_EQ(history.run.run, "mine");
  EXPECT_EQ(history.run.restarts, 3);
  EXPECT_EQ(history.run.budget_bytes, 1u << 30);
  ASSERT_EQ(history.steps.size(), 1u);
  EXPECT_TRUE(std::isnan(history.steps[0].loss));
  EXPECT_EQ(history.steps[0].grad_norm, step.grad_norm);
  EXPECT_TRUE(history.steps[0].skipped);
  EXPECT_EQ(history.steps[0].skip_reason, "spike");
  EXPECT_EQ(history.steps[0].samples[1], 95);
  EXPECT_EQ(history.steps[0].peak_bytes_max, step.peak_bytes_max);
  EXPECT_EQ(history.steps[0].rank_compute.median, 0.2);
  EXPECT_EQ(history.steps[0].rank_compute.max_rank, 5);
  EXPECT_EQ(history.evaluations.at(0).loss, 1.5);
  EXPECT_EQ(history.snapshots.at(0).problem, "no room");
  ASSERT_TRUE(history.end);
  EXPECT_EQ(history.end->weights_xxh3, "00ff");
}

TEST_F(JsonLinesReading, LeavesALineThatIsStillBeingWritten) {
  const auto sink = make_json_lines(path());
  sink->start(start_after(0));
  std::ofstream(path(), std::ios::app) << R"({"event": "step", "step": 1)";
  JsonLinesReader reader(path());
  EXPECT_TRUE(reader.read());
  EXPECT_EQ(steps_of(reader), std::vector<int64_t>{});
  std::ofstream(path(), std::ios::app) << ", \"loss\": 2.5}\n";
  EXPECT_TRUE(reader.read());
  EXPECT_EQ(steps_of(reader), std::vector<int64_t>{1});
  EXPECT_EQ(reader.history().steps[0].loss, 2.5);
}

// A run that goes on from step 2: its file is cut back there, and may be longer than before by the next look.
TEST_F(JsonLinesReading, FollowsAFileThatWasCutBack) {
  const auto sink = make_json_lines(path());
  sink->start(start_after(0));
  for (int64_t step = 1; step <= 2; ++step) sink->step({.step = step});
  const auto size = std::filesystem::file_size(path());
  for (int64_t step = 3; step <= 5; ++step) sink->step({.step = step});
  JsonLinesReader reader(path());
  reader.read();
  EXPECT_EQ(steps_of(reader), (std::vector<int64_t>{1, 2, 3, 4, 5}));
  std::filesystem::resize_file(path(), size);
  EXPECT_TRUE(reader.read());
  EXPECT_EQ(steps_of(reader), (std::vector<int64_t>{1, 2}));
  sink->start(start_after(2));
  for (int64_t step = 3; step <= 9; ++step) sink->step({.step = step});
  EXPECT_TRUE(reader.read());
  EXPECT_EQ(steps_of(reader), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(reader.history().run.resumed_step, 2);
  std::filesystem::resize_file(path(), size);
  sink->start(start_after(2));
  for (int64_t step = 3; step <= 10; ++step) sink->step({.step = step, .loss = 1});
  EXPECT_TRUE(reader.read());
  EXPECT_EQ(steps_of(reader), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(reader.history().steps[4].loss, 1) << "of the second try";
}

TEST_F(JsonLinesReading, StepsAfterTheOneThatAStartGoesOnFromAreTakenBack) {
  const auto sink = make_json_lines(path());
  sink->start(start_after(0));
  for (int64_t step = 1; step <= 4; ++step) sink->step({.step = step});
  sink->evaluation({.step = 4});
  sink->end({});
  sink->start(start_after(3));
  JsonLinesReader reader(path());
  reader.read();
  EXPECT_EQ(steps_of(reader), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_TRUE(reader.history().evaluations.empty());
  EXPECT_FALSE(reader.history().end);
}

TEST_F(JsonLinesReading, NamesTheLineThatIsNoEvent) {
  for (const char* damage : {"nonsense", R"({"event": "step", "step": "seven"})", R"({"event": 3})", "[]", ""}) {
    std::ofstream(path()) << R"({"event": "unknown to us"})"
                          << "\n"
                          << damage << "\n";
    try {
      JsonLinesReader(path()).read();
      ADD_FAILURE() << damage;
    } catch (const DamagedFile& error) {
      EXPECT_NE(std::string(error.what()).find(path() + ":2: expected an event"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(JsonLinesReader(folder_ / "none").read(), std::system_error);
}

}  // namespace
}  // namespace reprise
