#include "launcher/joint_choice.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/model_config.h"

namespace reprise {
namespace {

constexpr int64_t kMiB = 1 << 20;

// Four stages that keep 8, 4 or 1 MiB a sequence. A forward takes a fixed cost beside the sequences' own, so larger
// micro-batches are faster.
CostTable table(int64_t micro, int64_t global) {
  CostTable costs;
  costs.base_bytes = 10 * kMiB;
  costs.micro_sequences = micro;
  costs.tokens = micro * 32;
  costs.micro_batches = global / micro;
  for (int s = 0; s < 4; ++s) {
    const bool is_end = s == 0 || s == 3;
    StageCost stage{.name = "stage" + std::to_string(s), .layer = is_end ? -1 : 0, .recomputable = !is_end};
    stage.forward_seconds = 1 + static_cast<double>(micro);
    stage.backward_seconds = 2 + 2 * static_cast<double>(micro);
    stage.boundary_bytes = kMiB * micro;
    stage.saves = {SaveCost{8 * kMiB * micro, 0, kMiB * micro, 2 * kMiB * micro},
                   SaveCost{4 * kMiB * micro, 0.01 * static_cast<double>(micro), kMiB * micro, 2 * kMiB * micro},
                   SaveCost{kMiB * micro, 0.02 * static_cast<double>(micro), kMiB * micro, 2 * kMiB * micro}};
    costs.stages.push_back(stage);
  }
  return costs;
}

Config configuration(int64_t micro, const std::string& budget) {
  Config config;
  config.checkpointing.policy = "budget";
  config.budget.budget = budget;
  config.global_sequences = 24;
  config.micro_sequences = micro;
  return config;
}

int64_t smallest_peak(int64_t micro) {
  try {
    return fastest_plan(table(micro, 12), 0).predicted.peak_bytes;
  } catch (const DoesNotFit& failure) {
    return failure.smallest.predicted.peak_bytes;
  }
}

struct Chosen {
  Config config;
  JointChoice choice;
  std::vector<int64_t> measured;
};

Chosen choose(int64_t micro, const std::string& budget, int ranks = 2) {
  Chosen chosen{.config = configuration(micro, budget)};
  const auto measure = [&](const Config& config) {
    chosen.measured.push_back(config.micro_sequences);
    return table(config.micro_sequences, config.global_sequences / ranks);
  };
  chosen.choice = choose_jointly(chosen.config, ranks, ranks, nullptr, measure);
  return chosen;
}

std::vector<int64_t> considered(const JointChoice& choice) {
  std::vector<int64_t> micros;
  for (const MicroRow& row : choice.rows) micros.push_back(row.micro_sequences);
  return micros;
}

TEST(JointChoice, TakesTheFastestPairThatFits) {
  for (const int64_t mebibytes : {20, 30, 40, 60, 90, 130, 200, 500}) {
    const Chosen chosen = choose(kAuto, std::to_string(mebibytes * kMiB));
    double fastest = 1e9;
    int64_t best_micro = 0;
    for (const int64_t micro : {1, 2, 3, 4, 6, 12}) {
      try {
        const double seconds = fastest_plan(table(micro, 12), mebibytes * kMiB).predicted.step_seconds;
        if (seconds < fastest) best_micro = micro;
        fastest = std::min(fastest, seconds);
      } catch (const DoesNotFit&) {
      }
    }
    EXPECT_EQ(chosen.config.micro_sequences, best_micro) << mebibytes;
    EXPECT_EQ(chosen.choice.costs.micro_sequences, best_micro) << mebibytes;
    EXPECT_EQ(chosen.choice.planned.predicted.step_seconds, fastest) << mebibytes;
    EXPECT_EQ(considered(chosen.choice), (std::vector<int64_t>{1, 2, 3, 4, 6, 12})) << mebibytes;
  }
}

TEST(JointChoice, MeasuresNothingThatCannotFit) {
  const Chosen chosen = choose(kAuto, std::to_string(30 * kMiB));
  ASSERT_FALSE(chosen.measured.empty());
  EXPECT_LT(chosen.measured.back(), 12);
  const MicroRow& last = chosen.choice.rows.back();
  EXPECT_FALSE(last.measured);
  EXPECT_FALSE(last.planned);
  EXPECT_NEAR(static_cast<double>(last.smallest_peak_bytes), static_cast<double>(smallest_peak(12)), kMiB / 2);
  EXPECT_NE(micro_page(chosen.choice).find("does not fit: the smallest peak would be about this"), std::string::npos);
  EXPECT_EQ(micro_json(chosen.choice).back()["fits"], false);
}

TEST(JointChoice, AGivenMicroBatchIsTheOnlyRow) {
  const Chosen chosen = choose(3, "500MiB");
  EXPECT_EQ(chosen.config.micro_sequences, 3);
  EXPECT_EQ(chosen.measured, (std::vector<int64_t>{3}));
  EXPECT_EQ(considered(chosen.choice), (std::vector<int64_t>{3}));
}

TEST(JointChoice, SaysWhatTheSmallestPeakIsWhenNothingFits) {
  try {
    choose(kAuto, "12MiB");
    FAIL() << "12 MiB were enough";
  } catch (const NothingFits& failure) {
    EXPECT_NE(std::string(failure.what()).find("no plan fits 12.0 MiB"), std::string::npos) << failure.what();
    EXPECT_GT(failure.smallest_peak_bytes, 12 * kMiB);
  }
}

TEST(JointChoice, RefusesRanksThatCannotShareTheBatch) { EXPECT_THROW(choose(kAuto, "500MiB", 5), InvalidSetting); }

}  // namespace
}  // namespace reprise
