#include "launcher/plan_page.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launcher/drawings.h"
#include "launcher/plan_choice.h"
#include "tests/checkpointing/four_layers.h"

namespace reprise {
namespace {

constexpr int64_t kMiB = 1 << 20;

// Embedding, `layers` layers, head; every stage takes 1 s forward and 2 s backward and keeps 8, 4 or 1 MiB.
CostTable table(int layers) {
  CostTable costs;
  costs.base_bytes = 10 * kMiB;
  costs.micro_sequences = 4;
  const auto add = [&](const std::string& name, int layer) {
    StageCost stage{.name = name, .layer = layer, .recomputable = layer >= 0};
    stage.forward_seconds = 1;
    stage.backward_seconds = 2;
    stage.boundary_bytes = kMiB;
    stage.saves = {SaveCost{8 * kMiB, 0, kMiB, 2 * kMiB}, SaveCost{4 * kMiB, 0.1, kMiB, 2 * kMiB},
                   SaveCost{kMiB, 0.5, kMiB, 2 * kMiB}};
    costs.stages.push_back(stage);
  };
  add("embedding", -1);
  for (int layer = 0; layer < layers; ++layer) {
    add("layer" + std::to_string(layer) + ".attention", layer);
    add("layer" + std::to_string(layer) + ".feed_forward", layer);
  }
  add("head", -1);
  return costs;
}

PlannedStep planned(const CostTable& costs, const PolicySetting& setting) {
  Config config;
  config.checkpointing = setting;
  return choose_plan(config, costs, 1);
}

TEST(PlanPage, TableAddsUpWhatIsHeld) {
  CostTable costs = table(2);
  for (StageCost& stage : costs.stages) stage.early_stop_seconds = 0.5;
  PolicySetting setting;
  setting.policy = "list";
  setting.list = {0};
  const std::string page = plan_page(costs, planned(costs, setting));
  EXPECT_NE(page.find("1–2 layer0.attention … layer0.feed_forward"), std::string::npos) << page;
  // The recomputed layer holds its first input; embedding, the other layer and the head 8 MiB a stage.
  EXPECT_NE(page.find("activations held 33.0 MiB of 48.0 MiB"), std::string::npos) << page;
  EXPECT_NE(page.find("1.5 s"), std::string::npos) << page;  // the replay's last stage stops early
}

TEST(PlanPage, JsonHasExactlyTheProtocolsKeys) {
  const CostTable costs = table(1);
  const nlohmann::ordered_json json = plan_json(planned(costs, PolicySetting{}));
  EXPECT_EQ(json["plan"]["segments"].dump(),
            R"([{"first":0,"last":0,"recompute":false},{"first":1,"last":1,"recompute":false},)"
            R"({"first":2,"last":2,"recompute":false},{"first":3,"last":3,"recompute":false}])");
  EXPECT_EQ(json["plan"]["save"].dump(), R"(["all","all","all","all"])");
  EXPECT_EQ(json["predicted"].size(), 3u);
  EXPECT_EQ(json["predicted"]["step_seconds"].get<double>(), 12.0);
}

TEST(PlanChoice, EveryPolicyHasAPlan) {
  const CostTable costs = table(4);
  Config config;
  config.budget.budget = config.budget.knapsack = "60MiB";
  config.budget.greedy_bytes = 40 * kMiB;
  for (const char* policy : {"none", "full", "group", "every", "ratio", "sqrt", "budget", "knapsack", "greedy"}) {
    config.checkpointing.policy = policy;
    const PlannedStep step = choose_plan(config, costs, 1);
    EXPECT_EQ(step.predicted.peak_bytes, predict(costs, step.plan).peak_bytes) << policy;
  }
  config.checkpointing.policy = "budget";
  EXPECT_LE(choose_plan(config, costs, 1).predicted.peak_bytes, 60 * kMiB);
}

TEST(PlanChoice, BudgetsAreBytesOrShares) {
  EXPECT_EQ(budget_bytes(Config(), "3GiB", 2), int64_t{3} << 30);
  const int64_t half = budget_bytes(Config(), "50%", 1), all = budget_bytes(Config(), "100%", 1);
  EXPECT_NEAR(static_cast<double>(half), static_cast<double>(all) / 2, 1e-3 * static_cast<double>(all));
  EXPECT_LT(budget_bytes(Config(), "100%", 2), all / 2 + 1);
  EXPECT_GT(budget_bytes(Config(), "100%", 2), 0);
}

TEST(PlanChoice, SaysWhatWouldFit) {
  const CostTable costs = table(4);
  try {
    fastest_plan(costs, 14 * kMiB);
    FAIL() << "accepted";
  } catch (const DoesNotFit& failure) {
    const std::string message = what_would_fit(failure, costs, 14 * kMiB);
    EXPECT_NE(message.find("no plan fits 14.0 MiB"), std::string::npos) << message;
    EXPECT_NE(message.find("batch.micro_sequences: 2 would fit"), std::string::npos) << message;
    EXPECT_EQ(what_would_fit(failure, costs, 9 * kMiB).find("would fit"), std::string::npos);
  }
}

TEST(PlanCompare, PlannedIsNeverSlowerThanNamedPolicies) {
  const CostTable costs = table(6);
  const int64_t budget = 60 * kMiB;
  const std::vector<PolicyRow> rows = compare_policies(costs, budget);
  const PolicyRow& best = rows.back();
  ASSERT_EQ(best.policy, "budget");
  ASSERT_TRUE(best.fits);
  int fitting = 0;
  for (const PolicyRow& row : rows) {
    if (!row.fits) continue;
    ++fitting;
    EXPECT_LE(best.predicted->step_seconds, row.predicted->step_seconds) << row.policy;
  }
  EXPECT_GE(fitting, 3) << compare_page(rows, budget);
  EXPECT_NE(compare_page(rows, budget).find("too big"), std::string::npos);
}

TEST(PlanDrawings, ShowTheBudgetAndEveryStage) {
  CostTable costs = table(2);
  costs.wire = WireModel{1e-4, 1e8};
  costs.buckets = {{0, costs.size() - 1, kMiB}};
  const PlannedStep step = planned(costs, PolicySetting{});
  EXPECT_NE(draw_timeline(costs, step, 80 * kMiB).find("gradients on the wire"), std::string::npos);
  EXPECT_NE(draw_frontier(frontier(costs), compare_policies(costs, 80 * kMiB)).find(">none"), std::string::npos);
}

TEST(Regime, SaysWhichIsTheBottleneck) {
  CostTable costs = four_layers();
  EXPECT_EQ(regime_of(costs, keep_but({})),
            "the wire is the bottleneck: the first 3 of 4 layers could recompute for free");
  EXPECT_EQ(regime_of(costs, keep_but({0})), "the wire is the bottleneck: the first 1 of 4 layers recompute for free");
  EXPECT_EQ(regime_of(costs, keep_but({0, 1})), "compute is the bottleneck: recomputing takes 11.8 % of the step");
  costs.wire->bytes_per_second = 1e8;
  EXPECT_EQ(regime_of(costs, keep_but({1})),
            "the wire is the bottleneck: 1 of the first 3 of 4 layers recompute for free");
  EXPECT_EQ(regime_of(costs, keep_but({0, 1, 2, 3})),
            "the wire is the bottleneck: the first 3 of 4 layers recompute for free");
  costs.buckets = {{0, costs.size() - 1, 1 << 30}};
  EXPECT_EQ(regime_of(costs, keep_but({})), "the wire is the bottleneck: no whole layer is hidden behind it");
  costs.wire.reset();
  EXPECT_EQ(regime_of(costs, keep_but({})), "compute is the bottleneck: recomputing takes 0.0 % of the step");
}

}  // namespace
}  // namespace reprise
