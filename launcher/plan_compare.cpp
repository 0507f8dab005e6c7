#include "launcher/plan_compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "checkpointing/policies.h"
#include "monitoring/format.h"

namespace reprise {

namespace {

bool is_better(const PolicyRow& a, const PolicyRow& b) {
  if (a.fits != b.fits) return a.fits;
  return a.fits ? a.predicted->step_seconds < b.predicted->step_seconds
                : a.predicted->peak_bytes < b.predicted->peak_bytes;
}

}  // namespace

std::vector<PolicyRow> compare_policies(const CostTable& costs, int64_t budget_bytes) {
  const std::vector<StageShape> shapes = shapes_of(costs);
  std::vector<PolicyRow> rows;
  const auto add_best = [&](const std::vector<Plan>& plans) {
    std::optional<PolicyRow> best;
    for (const Plan& plan : plans) {
      const Prediction predicted = predict(costs, plan);
      const PolicyRow row{plan.origin, predicted, predicted.peak_bytes <= budget_bytes};
      if (!best || is_better(row, *best)) best = row;
    }
    if (best) rows.push_back(*best);
  };
  const auto add_planned = [&](const std::string& policy, PlannedStep (*planner)(const CostTable&, int64_t)) {
    try {
      rows.push_back({policy, planner(costs, budget_bytes).predicted, true});
    } catch (const DoesNotFit&) {
      rows.push_back({policy, std::nullopt, false});
    }
  };

  for (const SaveLevel level : kSaveLevels) {
    Plan plan = plan_of({.policy = "none", .save = {level}}, shapes);
    if (level != SaveLevel::all) plan.origin = fmt::format("none, save {}", name_of(level));
    add_best({plan});
  }
  add_best({plan_of({.policy = "full"}, shapes)});
  int layers = 0;
  int64_t most = 0;  // bytes that greedy may be asked to save
  for (const StageCost& stage : costs.stages) {
    layers = std::max(layers, stage.layer + 1);
    most += stage.at(SaveLevel::all).kept_bytes;
  }
  std::vector<Plan> groups, everys, greedies;
  for (int k = 1; k <= layers; ++k) {
    groups.push_back(plan_of({.policy = "group", .group = k}, shapes));
    everys.push_back(plan_of({.policy = "every", .every = k}, shapes));
  }
  const int figures = 4 * std::max(1, layers);  // as many as tell any two of a homogeneous chain's plans apart
  for (int i = 0; i <= figures; ++i) {
    greedies.push_back(greedy_plan(costs, most / figures * i));
    greedies.back().origin = fmt::format("greedy: {}", format_bytes(static_cast<uint64_t>(most / figures * i)));
  }
  for (const std::vector<Plan>* plans : {&groups, &everys, &greedies}) add_best(*plans);
  add_planned("knapsack", knapsack_plan);
  add_planned("budget", fastest_plan);
  return rows;
}

std::string compare_page(const std::vector<PolicyRow>& rows, int64_t budget_bytes) {
  double fastest = 0;
  for (const PolicyRow& row : rows) {
    if (row.fits && (fastest == 0 || row.predicted->step_seconds < fastest)) fastest = row.predicted->step_seconds;
  }
  std::string page =
      fmt::format("policies within {}\n  {:<24} {:>11} {:>11} {:>11} {:>9}\n",
                  format_bytes(static_cast<uint64_t>(budget_bytes)), "policy", "peak", "step", "exposed", "slower");
  for (const PolicyRow& row : rows) {
    if (!row.predicted) {
      page += fmt::format("  {:<24} no plan\n", row.policy);
      continue;
    }
    const Prediction& predicted = *row.predicted;
    page += fmt::format("  {:<24} {:>11} {:>11} {:>11} {:>9}\n", row.policy,
                        format_bytes(static_cast<uint64_t>(predicted.peak_bytes)),
                        format_seconds(predicted.step_seconds), format_seconds(predicted.exposed_seconds),
                        row.fits ? fmt::format("{:.1f} %", 100 * (predicted.step_seconds / fastest - 1)) : "too big");
  }
  return page;
}

}  // namespace reprise
