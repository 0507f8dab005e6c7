#include "launcher/plan_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "checkpointing/policies.h"
#include "checkpointing/timeline.h"
#include "monitoring/format.h"
#include "monitoring/json_text.h"

namespace reprise {
namespace {

// A row of the table: a recomputed segment, or neighbouring kept stages of one level.
struct Row {
  int first = 0, last = 0;
  std::string does;
  int64_t held_bytes = 0;
  double replay_seconds = 0;
};

std::vector<Row> rows_of(const CostTable& costs, const Plan& plan) {
  std::vector<Row> rows;
  for (const Segment& segment : plan.segments) {
    const StageCost& first = costs[segment.first];
    const SaveLevel level = plan.save[static_cast<size_t>(segment.first)];
    Row row{segment.first, segment.last};
    if (segment.recompute) {
      row.does = fmt::format("recompute ({})", name_of(level));
      row.held_bytes = first.boundary_bytes;
      for (int s = segment.first; s <= segment.last; ++s) {
        row.replay_seconds += costs[s].replay_seconds(s == segment.last);
      }
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

// The stage from whose gradients on the wire is busy until the step ends; stages below it compute for free.
int critical_stage(const CostTable& costs, const Timeline& timeline) {
  int critical = 0;
  double busy_from = -1;  // start of the bucket behind
  for (auto event = timeline.events.rbegin(); event != timeline.events.rend(); ++event) {
    if (event->kind != TimelineKind::wire || (busy_from >= 0 && event->end_seconds < busy_from)) break;
    critical = costs.buckets[static_cast<size_t>(event->index)].lowest;
    busy_from = event->start_seconds;
  }
  return critical;
}

std::string wire_bound(const CostTable& costs, const Plan& plan, int critical) {
  struct Layer {
    bool recomputes = false, is_free = true;
  };
  std::map<int, Layer> layers;
  for (const Segment& segment : plan.segments) {
    for (int s = segment.first; s <= segment.last; ++s) {
      if (costs[s].layer < 0) continue;
      Layer& layer = layers[costs[s].layer];
      layer.recomputes |= segment.recompute || plan.save[static_cast<size_t>(s)] != SaveLevel::all;
      layer.is_free &= s < critical;
    }
  }
  size_t free = 0, used = 0, last_used = 0;  // free layers are the first ones
  for (const auto& [number, layer] : layers) {
    if (!layer.is_free) break;
    ++free;
    if (layer.recomputes) ++used, last_used = free;
  }
  const std::string regime = "the wire is the bottleneck: ";
  if (free == 0) return regime + "no whole layer is hidden behind it";
  const auto first = [&](size_t count) { return fmt::format("the first {} of {} layers", count, layers.size()); };
  if (used == 0) return regime + first(free) + " could recompute for free";
  if (used == last_used) return regime + first(used) + " recompute for free";
  return fmt::format("{}{} of {} recompute for free", regime, used, first(free));
}

bool is_better(const PolicyRow& a, const PolicyRow& b) {
  if (a.fits != b.fits) return a.fits;
  return a.fits ? a.predicted->step_seconds < b.predicted->step_seconds
                : a.predicted->peak_bytes < b.predicted->peak_bytes;
}

}  // namespace

std::string regime_of(const CostTable& costs, const Plan& plan) {
  CostTable last_micro_batch = costs;  // the one that reduces
  last_micro_batch.micro_batches = 1;
  const Timeline timeline = simulate(last_micro_batch, plan);
  const int critical = critical_stage(costs, timeline);
  const bool mostly_waits = 2 * timeline.predicted.exposed_seconds > timeline.predicted.step_seconds;
  if (critical > 0 || mostly_waits) return wire_bound(costs, plan, critical);

  double recomputing = 0;
  for (const TimelineEvent& event : timeline.events) {
    if (event.kind == TimelineKind::replay) recomputing += event.end_seconds - event.start_seconds;
    if (event.kind == TimelineKind::backward) {
      recomputing += costs[event.index].at(plan.save[static_cast<size_t>(event.index)]).extra_seconds;
    }
  }
  const double step = predict(costs, plan).step_seconds;
  const double percent = step > 0 ? 100 * recomputing * static_cast<double>(costs.micro_batches) / step : 0;
  return fmt::format("compute is the bottleneck: recomputing takes {:.1f} % of the step", percent);
}

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
    page += fmt::format("  {:<46} {:<18} {:>11} {:>10}\n", stages, row.does, format_bytes(row.held_bytes),
                        row.replay_seconds > 0 ? format_seconds(row.replay_seconds) : "");
    held += row.held_bytes;
  }
  for (const StageCost& stage : costs.stages) all += stage.at(SaveLevel::all).kept_bytes;
  const Prediction& predicted = step.predicted;
  page += fmt::format("\n  activations held {} of {} ({:.1f} %), base {}\n", format_bytes(held), format_bytes(all),
                      100.0 * static_cast<double>(held) / static_cast<double>(std::max<int64_t>(1, all)),
                      format_bytes(costs.base_bytes));
  page += fmt::format("  predicted: peak {}, step {}, exposed communication {}\n", format_bytes(predicted.peak_bytes),
                      format_seconds(predicted.step_seconds), format_seconds(predicted.exposed_seconds));
  if (step.gap > 0) page += fmt::format("  no plan within the budget is more than {:.2f} % faster\n", 100 * step.gap);
  return page + "  " + regime_of(costs, step.plan) + "\n";
}

nlohmann::ordered_json plan_json(const PlannedStep& step) {
  nlohmann::ordered_json segments = nlohmann::ordered_json::array(), save = nlohmann::ordered_json::array();
  for (const Segment& segment : step.plan.segments) {
    segments.push_back(JSON_FIELDS(segment.first, segment.last, segment.recompute));
  }
  for (SaveLevel level : step.plan.save) save.push_back(name_of(level));
  return {{"plan", JSON_FIELDS(segments, save)}, {"predicted", prediction_json(step.predicted)}};
}

nlohmann::ordered_json prediction_json(const Prediction& predicted) {
  return JSON_FIELDS(predicted.step_seconds, predicted.peak_bytes, predicted.exposed_seconds);
}

std::vector<PolicyRow> compare_policies(const CostTable& costs, int64_t budget_bytes) {
  const std::vector<StageShape> shapes = shapes_of(costs);
  std::vector<PolicyRow> rows;
  const auto row_of = [&](const std::string& policy, const Prediction& predicted) {
    return PolicyRow{policy, predicted, predicted.peak_bytes <= budget_bytes};
  };
  const auto add_best = [&](const std::vector<Plan>& plans) {
    std::vector<PolicyRow> candidates;
    for (const Plan& plan : plans) candidates.push_back(row_of(plan.origin, predict(costs, plan)));
    if (!plans.empty()) rows.push_back(*std::ranges::min_element(candidates, is_better));
  };
  const auto add_planned = [&](const std::string& policy, PlannedStep (*planner)(const CostTable&, int64_t)) {
    try {
      rows.push_back(row_of(policy, planner(costs, budget_bytes).predicted));
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
    greedies.back().origin = fmt::format("greedy: {}", format_bytes(most / figures * i));
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
  std::string page = fmt::format("policies within {}\n  {:<24} {:>11} {:>11} {:>11} {:>9}\n",
                                 format_bytes(budget_bytes), "policy", "peak", "step", "exposed", "slower");
  for (const PolicyRow& row : rows) {
    if (!row.predicted) {
      page += fmt::format("  {:<24} no plan\n", row.policy);
      continue;
    }
    const Prediction& predicted = *row.predicted;
    page += fmt::format("  {:<24} {:>11} {:>11} {:>11} {:>9}\n", row.policy, format_bytes(predicted.peak_bytes),
                        format_seconds(predicted.step_seconds), format_seconds(predicted.exposed_seconds),
                        row.fits ? fmt::format("{:.1f} %", 100 * (predicted.step_seconds / fastest - 1)) : "too big");
  }
  return page;
}

}  // namespace reprise
