#include "launcher/drawings.h"

#include <gtest/gtest.h>

#include <string>

namespace reprise {
namespace {

// Two stages of a step that takes about ten times `second`, with a bucket on the wire.
CostTable costs_in(double second) {
  CostTable costs;
  for (const char* name : {"embedding", "head"}) {
    costs.stages.push_back({.name = name, .forward_seconds = second, .backward_seconds = 2 * second});
  }
  costs.optimizer_seconds = second;
  costs.wire = WireModel{3 * second, 1e9};
  costs.buckets = {{0, 1, 1}};
  return costs;
}

PlannedStep kept() {
  PlannedStep step;
  step.plan = {{{0, 0, false}, {1, 1, false}}, {SaveLevel::all, SaveLevel::all}, "none"};
  return step;
}

TEST(Drawings, TheTimelineNamesLanesKindsAndBudget) {
  const std::string svg = draw_timeline(costs_in(1), kept(), 40 << 20);
  for (const char* text : {">compute<", ">wire<", ">forward<", ">backward<", ">gradients on the wire<", ">optimizer<",
                           ">bucket 0<", ">memory (MiB)<", ">budget 40.0 MiB<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(svg.find(">replay<"), std::string::npos);
  EXPECT_EQ(draw_timeline(costs_in(1), kept(), 0).find(">budget"), std::string::npos);
}

TEST(Drawings, ShortStepsAreToldInSmallerUnits) {
  EXPECT_NE(draw_timeline(costs_in(1), kept(), 0).find(">time (s)<"), std::string::npos);
  EXPECT_NE(draw_timeline(costs_in(1e-2), kept(), 0).find(">time (ms)<"), std::string::npos);
  EXPECT_NE(draw_timeline(costs_in(1e-5), kept(), 0).find(">time (µs)<"), std::string::npos);
}

TEST(Drawings, PoliciesAtOnePointShareAName) {
  const auto row = [](const char* policy, int64_t bytes) {
    return PolicyRow{policy, Prediction{.step_seconds = 2, .peak_bytes = bytes}, true};
  };
  const std::string svg =
      draw_frontier({{3 << 20, 1}, {1 << 20, 2}}, {row("none", 9), row("full", 5), row("every: 1", 5), {"budget", {}}});
  for (const char* text : {">fastest plan<", ">none<", ">full = every: 1<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(svg.find(">budget<"), std::string::npos);
}

}  // namespace
}  // namespace reprise
