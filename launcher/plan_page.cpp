#include "launcher/plan_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpointing/policies.h"
#include "checkpointing/timeline.h"
#include "launcher/regime.h"
#include "monitoring/format.h"

namespace reprise {

namespace {

// A row of the table: a recomputed segment, or neighbouring kept stages of one level.
struct Row {
  int first = 0, last = 0;
  std::string does;
  int64_t held_bytes = 0;
  double replay_seconds = 0;
};

std::string bytes(int64_t count) { return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, count))); }

std::vector<Row> rows_of(const CostTable& costs, const Plan& plan) {
  std::vector<Row> rows;
  for (const Segment& segment : plan.segments) {
    const StageCost& first = costs[segment.first];
    const SaveLevel level = plan.save[static_cast<size_t>(segment.first)];
    Row row{segment.first, segment.last};
    if (segment.recompute) {
      row.does = fmt::format("recompute ({})", name_of(level));
      row.held_bytes = first.boundary_bytes;
      for (int s = segment.first; s <= segment.last; ++s) row.replay_seconds += costs[s].forward_seconds;
    } else {
      row.does = fmt::format("keep {}", level == SaveLevel::input ? "the input" : name_of(level));
      row.held_bytes = first.at(level).kept_bytes;
      if (!rows.empty() && rows.back().does == row.does) {
        rows.back().last = row.last;
        rows.back().held_bytes += row.held_bytes;
        continue;
      }
    }
    rows.push_back(row);
  }
  return rows;
}

bool is_better(const PolicyRow& a, const PolicyRow& b) {
  if (a.fits != b.fits) return a.fits;
  return a.fits ? a.predicted->step_seconds < b.predicted->step_seconds
                : a.predicted->peak_bytes < b.predicted->peak_bytes;
}

}  // namespace

std::string plan_page(const CostTable& costs, const PlannedStep& step) {
  std::string page = fmt::format("plan {}\n  {}\n", step.plan.origin, strip_of(step.plan));
  page +=
      "  one character a stage, first the embedding, last the head: = keeps all, - lean, . its input only, r "
      "recomputes;\n"
      "  | between stages that are recomputed apart\n\n";
  page += fmt::format("  {:<46} {:<18} {:>11} {:>10}\n", "stages", "", "held", "replay");
  int64_t held = 0, all = 0;
  for (const Row& row : rows_of(costs, step.plan)) {
    const std::string stages = row.first == row.last ? fmt::format("{} {}", row.first, costs[row.first].name)
                                                     : fmt::format("{}–{} {} … {}", row.first, row.last,
                                                                   costs[row.first].name, costs[row.last].name);
    page += fmt::format("  {:<46} {:<18} {:>11} {:>10}\n", stages, row.does, bytes(row.held_bytes),
                        row.replay_seconds > 0 ? format_seconds(row.replay_seconds) : "");
    held += row.held_bytes;
  }
  for (const StageCost& stage : costs.stages) all += stage.at(SaveLevel::all).kept_bytes;
  const Prediction& predicted = step.predicted;
  page += fmt::format("\n  activations held {} of {} ({:.1f} %), base {}\n", bytes(held), bytes(all),
                      100.0 * static_cast<double>(held) / static_cast<double>(std::max<int64_t>(1, all)),
                      bytes(costs.base_bytes));
  page += fmt::format("  predicted: peak {}, step {}, exposed communication {}\n", bytes(predicted.peak_bytes),
                      format_seconds(predicted.step_seconds), format_seconds(predicted.exposed_seconds));
  if (step.gap > 0) page += fmt::format("  no plan within the budget is more than {:.2f} % faster\n", 100 * step.gap);
  return page + "  " + regime_of(costs, step.plan) + "\n";
}

nlohmann::ordered_json plan_json(const PlannedStep& step) {
  nlohmann::ordered_json segments = nlohmann::ordered_json::array(), save = nlohmann::ordered_json::array();
  for (const Segment& segment : step.plan.segments) {
    segments.push_back({{"first", segment.first}, {"last", segment.last}, {"recompute", segment.recompute}});
  }
  for (SaveLevel level : step.plan.save) save.push_back(name_of(level));
  return {{"plan", {{"segments", segments}, {"save", save}}},
          {"predicted",
           {{"step_seconds", step.predicted.step_seconds},
            {"peak_bytes", step.predicted.peak_bytes},
            {"exposed_seconds", step.predicted.exposed_seconds}}}};
}

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
      const Prediction predicted = planner(costs, budget_bytes).predicted;
      rows.push_back({policy, predicted, predicted.peak_bytes <= budget_bytes});
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
    greedies.back().origin = fmt::format("greedy: {}", bytes(most / figures * i));
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
  std::string page = fmt::format("policies within {}\n  {:<24} {:>11} {:>11} {:>11} {:>9}\n", bytes(budget_bytes),
                                 "policy", "peak", "step", "exposed", "slower");
  for (const PolicyRow& row : rows) {
    if (!row.predicted) {
      page += fmt::format("  {:<24} no plan\n", row.policy);
      continue;
    }
    const Prediction& predicted = *row.predicted;
    page += fmt::format("  {:<24} {:>11} {:>11} {:>11} {:>9}\n", row.policy, bytes(predicted.peak_bytes),
                        format_seconds(predicted.step_seconds), format_seconds(predicted.exposed_seconds),
                        row.fits ? fmt::format("{:.1f} %", 100 * (predicted.step_seconds / fastest - 1)) : "too big");
  }
  return page;
}

}  // namespace reprise
