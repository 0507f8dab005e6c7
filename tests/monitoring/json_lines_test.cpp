#include "monitoring/json_lines.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <system_error>
#include <vector>

#include "tests/scratch.h"

namespace reprise {
namespace {

class JsonLines : public testing::Test {
 protected:
  std::string path() const { return folder_ / "metrics.jsonl"; }
  std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::ifstream file(path());
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }
  std::vector<nlohmann::json> objects() const {
    std::vector<nlohmann::json> all;
    for (const std::string& line : lines()) all.push_back(nlohmann::json::parse(line));
    return all;
  }
  const Scratch folder_;
};

TEST_F(JsonLines, OneLineForEachEvent) {
  RunStart run;
  run.run = "a \"quoted\"\nname";
  run.parameters = 1234567890123;
  StepReport step;
  step.step = 7;
  step.samples = {80, 95};
  step.skipped = true;
  step.skip_reason = "spike";
  step.peak_bytes_max = std::numeric_limits<uint64_t>::max();
  RunEnd end;
  end.weights_xxh3 = "00112233445566aa";
  {
    const auto sink = make_json_lines(path());
    sink->start(run);
    sink->step(step);
    sink->evaluation({7, 1.5, 4096, 0.25});
    sink->end(end);
  }
  const auto all = objects();
  ASSERT_EQ(all.size(), 4u);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (const auto& object : all) EXPECT_NEAR(object["time"].get<double>(), now, 60);
  EXPECT_EQ(all[0]["event"], "start");
  EXPECT_EQ(all[0]["run"], run.run);
  EXPECT_EQ(all[0]["parameters"], run.parameters);
  EXPECT_EQ(all[1]["event"], "step");
  EXPECT_EQ(all[1]["step"], 7);
  EXPECT_EQ(all[1]["skipped"], true);
  EXPECT_EQ(all[1]["skip_reason"], "spike");
  EXPECT_EQ(all[1]["samples"].dump(), "[80,95]");
  EXPECT_EQ(all[1]["peak_bytes_max"], step.peak_bytes_max);
  EXPECT_EQ(all[2]["event"], "evaluation");
  EXPECT_EQ(all[2]["loss"], 1.5);
  EXPECT_EQ(all[3]["event"], "end");
  EXPECT_EQ(all[3]["weights_xxh3"], end.weights_xxh3);
}

TEST_F(JsonLines, StepCarriesTheProtocolsNames) {
  StepReport step;
  step.planned_peak_bytes = 1;
  step.planned_step_seconds = 1;
  const auto sink = make_json_lines(path());
  sink->step(step);
  std::vector<std::string> names;
  const nlohmann::ordered_json object = nlohmann::ordered_json::parse(lines().at(0));
  for (const auto& [name, value] : object.items()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"event",
                                             "time",
                                             "step",
                                             "loss",
                                             "grad_norm",
                                             "learning_rate",
                                             "tokens",
                                             "samples",
                                             "skipped",
                                             "loss_scale",
                                             "step_seconds",
                                             "data_seconds",
                                             "forward_seconds",
                                             "recompute_seconds",
                                             "backward_seconds",
                                             "optimizer_seconds",
                                             "other_seconds",
                                             "comm_seconds",
                                             "comm_exposed_seconds",
                                             "peak_bytes",
                                             "peak_bytes_max",
                                             "idle_bytes",
                                             "planned_peak_bytes",
                                             "planned_step_seconds",
                                             "ranks"}));
  EXPECT_EQ(object["ranks"].dump(), R"({"step_seconds":{"min":0.0,"median":0.0,"max":0.0,"max_rank":0},)"
                                    R"("data_seconds":{"min":0.0,"median":0.0,"max":0.0,"max_rank":0},)"
                                    R"("compute_seconds":{"min":0.0,"median":0.0,"max":0.0,"max_rank":0},)"
                                    R"("wait_seconds":{"min":0.0,"median":0.0,"max":0.0,"max_rank":0}})");
}

TEST_F(JsonLines, FloatsKeepTheirBits) {
  std::vector<double> values = {0.0,
                                -0.0,
                                1.0,
                                0.1,
                                1e20,
                                1e22,
                                123456789012345680000.0,
                                9007199254740993.0,
                                5e-324,
                                std::numeric_limits<double>::max(),
                                std::numeric_limits<double>::min(),
                                static_cast<double>(0.1f)};
  std::mt19937_64 generator(1);
  while (values.size() < 2000) {
    const double value = std::bit_cast<double>(generator());
    if (std::isfinite(value)) values.push_back(value);
  }
  {
    const auto sink = make_json_lines(path());
    for (const double value : values) {
      StepReport step;
      step.loss = value;
      sink->step(step);
    }
  }
  const auto all = objects();
  ASSERT_EQ(all.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_TRUE(all[i]["loss"].is_number_float()) << all[i]["loss"];
    EXPECT_EQ(std::bit_cast<uint64_t>(all[i]["loss"].get<double>()), std::bit_cast<uint64_t>(values[i])) << values[i];
  }
  EXPECT_NE(lines()[3].find("\"loss\": 0.1,"), std::string::npos);  // shortest
}

TEST_F(JsonLines, NonFiniteNumbersAreNamed) {
  StepReport step;
  step.loss = std::numeric_limits<double>::quiet_NaN();
  step.grad_norm = std::numeric_limits<double>::infinity();
  step.learning_rate = -std::numeric_limits<double>::infinity();
  make_json_lines(path())->step(step);
  const auto object = objects().at(0);
  EXPECT_EQ(object["loss"], "NaN");
  EXPECT_EQ(object["grad_norm"], "Infinity");
  EXPECT_EQ(object["learning_rate"], "-Infinity");
}

TEST_F(JsonLines, PredictionsAppearOnlyWhenThereAreAny) {
  RunEnd end;
  end.peak_bytes_max = 1000;
  end.median_step_seconds = 0.5;
  const auto sink = make_json_lines(path());
  sink->start({});
  sink->step({});
  sink->end(end);
  end.planned_peak_bytes = 1020;
  end.planned_step_seconds = 0.25;
  sink->end(end);
  const auto all = objects();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(lines()[i].find("planned"), std::string::npos);
    EXPECT_EQ(lines()[i].find("miss"), std::string::npos);
  }
  EXPECT_EQ(all[3]["planned_peak_bytes"], 1020);
  EXPECT_EQ(all[3]["peak_miss_percent"], 2.0);
  EXPECT_EQ(all[3]["step_miss_percent"], -50.0);
}

TEST_F(JsonLines, AppendsToWhatIsThere) {
  make_json_lines(path())->step({});
  make_json_lines(path())->step({});
  EXPECT_EQ(objects().size(), 2u);
}

TEST_F(JsonLines, FailuresNameThePath) {
  for (const std::string& bad : {folder_ / "no/such/folder.jsonl", std::string("/dev/full")}) {
    try {
      make_json_lines(bad)->step({});
      FAIL() << bad;
    } catch (const std::system_error& error) {
      EXPECT_NE(std::string(error.what()).find(bad), std::string::npos) << error.what();
    }
  }
}

TEST_F(JsonLines, ALineThatDoesNotFitIsTakenBack) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // the write fails instead
  const rlimit small{1000, before.rlim_max};
  const auto sink = make_json_lines(path());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  bool has_failed = false;
  for (int i = 0; i < 10 && !has_failed; ++i) {
    try {
      sink->step({});
    } catch (const std::system_error&) {
      has_failed = true;
    }
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(has_failed);
  EXPECT_GE(objects().size(), 1u);  // throws for half a line
}

}  // namespace
}  // namespace reprise
