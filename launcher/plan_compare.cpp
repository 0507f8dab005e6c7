#include "launcher/plan_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "checkpointing/policies.h"
#include "monitoring/format.h"

namespace reprise {

namespace {

PolicyRow row_of(const std::string& name, const Prediction& predicted, int64_t budget_bytes) {
  return {name, predicted, predicted.peak_bytes <= budget_bytes};
}

bool is_better(const PolicyRow& a, const PolicyRow& b) {
  if (a.fits != b.fits) return a.fits;
  return a.fits ? a.predicted->step_seconds < b.predicted->step_seconds
                : a.predicted->peak_bytes < b.predicted->peak_bytes;
}

// The best of a policy's plans for the numbers 1 … layers.
PolicyRow best_of(const CostTable& costs, int64_t budget_bytes, const std::string& policy,
                  const std::function<void(PolicySetting&, int)>& set, int layers) {
  std::optional<PolicyRow> best;
  for (int k = 1; k <= layers; ++k) {
    PolicySetting setting;
    setting.policy = policy;
    set(setting, k);
    const Plan plan = plan_of(setting, shapes_of(costs));
    const PolicyRow row = row_of(plan.origin, predict(costs, plan), budget_bytes);
    if (!best || is_better(row, *best)) best = row;
  }
  return *best;
}

// The best of the recipe's plans over its figure: as many figures as tell any two of a homogeneous chain's plans apart.
PolicyRow best_greedy(const CostTable& costs, int64_t budget_bytes, int layers) {
  int64_t most = 0;
  for (const StageCost& stage : costs.stages) most += stage.at(SaveLevel::all).kept_bytes;
  const int figures = 4 * std::max(1, layers);
  std::optional<PolicyRow> best;
  for (int i = 0; i <= figures; ++i) {
    const int64_t to_save = most / figures * i;
    const std::string name = fmt::format("greedy: {}", format_bytes(static_cast<uint64_t>(to_save)));
    const PolicyRow row = row_of(name, predict(costs, greedy_plan(costs, to_save)), budget_bytes);
    if (!best || is_better(row, *best)) best = row;
  }
  return *best;
}

PolicyRow fixed(const CostTable& costs, int64_t budget_bytes, const std::string& policy,
                SaveLevel level = SaveLevel::all) {
  PolicySetting setting;
  setting.policy = policy;
  setting.save = {level};
  const std::string name = level == SaveLevel::all ? policy : fmt::format("{}, save {}", policy, name_of(level));
  return row_of(name, predict(costs, plan_of(setting, shapes_of(costs))), budget_bytes);
}

PolicyRow planned(const std::string& name, int64_t budget_bytes, const std::function<PlannedStep()>& plan) {
  try {
    return row_of(name, plan().predicted, budget_bytes);
  } catch (const DoesNotFit&) {
    return {name, std::nullopt, false};
  }
}

}  // namespace

std::vector<PolicyRow> compare_policies(const CostTable& costs, int64_t budget_bytes) {
  int layers = 0;
  for (const StageCost& stage : costs.stages) layers = std::max(layers, stage.layer + 1);
  const PolicyRow none = fixed(costs, budget_bytes, "none");
  const auto set_group = [](PolicySetting& setting, int k) { setting.group = k; };
  const auto set_every = [](PolicySetting& setting, int k) { setting.every = k; };
  std::vector<PolicyRow> rows = {none, fixed(costs, budget_bytes, "none", SaveLevel::lean),
                                 fixed(costs, budget_bytes, "none", SaveLevel::input),
                                 fixed(costs, budget_bytes, "full")};
  if (layers > 0) {
    rows.push_back(best_of(costs, budget_bytes, "group", set_group, layers));
    rows.push_back(best_of(costs, budget_bytes, "every", set_every, layers));
  }
  rows.push_back(best_greedy(costs, budget_bytes, layers));
  rows.push_back(planned("knapsack", budget_bytes, [&] { return knapsack_plan(costs, budget_bytes); }));
  rows.push_back(planned("budget", budget_bytes, [&] { return fastest_plan(costs, budget_bytes); }));
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
