#include "launcher/plan_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "checkpointing/regime.h"
#include "monitoring/format.h"

namespace reprise {

namespace {

// A row of the table: a recomputed segment, or neighbouring kept stages of one level.
struct Row {
  int first = 0, last = 0;
  bool recompute = false;
  SaveLevel level = SaveLevel::all;
  int64_t held_bytes = 0;
  double replay_seconds = 0;
};

std::string bytes(int64_t count) { return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, count))); }

SaveLevel level_of(const Plan& plan, int stage) { return plan.save[static_cast<size_t>(stage)]; }

std::vector<Row> rows_of(const CostTable& costs, const Plan& plan) {
  std::vector<Row> rows;
  for (const Segment& segment : plan.segments) {
    Row row{segment.first, segment.last, segment.recompute, level_of(plan, segment.first)};
    row.held_bytes =
        segment.recompute ? costs[segment.first].boundary_bytes : costs[segment.first].at(row.level).kept_bytes;
    for (int s = segment.first; segment.recompute && s <= segment.last; ++s)
      row.replay_seconds += costs[s].forward_seconds;
    const bool continues = !rows.empty() && !rows.back().recompute && !row.recompute && rows.back().level == row.level;
    if (continues) {
      rows.back().last = row.last;
      rows.back().held_bytes += row.held_bytes;
    } else {
      rows.push_back(row);
    }
  }
  return rows;
}

std::string what_it_does(const Row& row) {
  if (row.recompute) return fmt::format("recompute ({})", name_of(row.level));
  return fmt::format("keep {}", row.level == SaveLevel::input ? "the input" : name_of(row.level));
}

int64_t held_bytes(const CostTable& costs, const Plan& plan) {
  int64_t held = 0;
  for (const Row& row : rows_of(costs, plan)) held += row.held_bytes;
  return held;
}

int64_t bytes_of_keeping_all(const CostTable& costs) {
  int64_t held = 0;
  for (const StageCost& stage : costs.stages) held += stage.at(SaveLevel::all).kept_bytes;
  return held;
}

}  // namespace

std::string layer_strip(const CostTable& costs, const Plan& plan) {
  constexpr char kMarks[] = {'=', '-', '.'};
  std::string strip;
  for (const Segment& segment : plan.segments) {
    for (int s = segment.first; s <= segment.last; ++s) {
      const bool starts_layer = s == 0 || costs[s].layer != costs[s - 1].layer;
      if (starts_layer && s > 0) strip += ' ';
      if (segment.recompute && s == segment.first) strip += '[';
      strip += segment.recompute ? 'r' : kMarks[static_cast<size_t>(level_of(plan, s))];
    }
    if (segment.recompute) strip += ']';
  }
  return strip;
}

std::string plan_page(const CostTable& costs, const PlannedStep& step) {
  const Plan& plan = step.plan;
  std::string page = fmt::format("plan {}\n  {}\n", plan.origin, layer_strip(costs, plan));
  page +=
      "  = keeps all, - lean, . its input only, r recomputes; [ ] recomputed as one; first the embedding, last the "
      "head\n\n";
  page += fmt::format("  {:<46} {:<18} {:>11} {:>10}\n", "stages", "", "held", "replay");
  for (const Row& row : rows_of(costs, plan)) {
    const std::string stages = row.first == row.last ? fmt::format("{} {}", row.first, costs[row.first].name)
                                                     : fmt::format("{}–{} {} … {}", row.first, row.last,
                                                                   costs[row.first].name, costs[row.last].name);
    page += fmt::format("  {:<46} {:<18} {:>11} {:>10}\n", stages, what_it_does(row), bytes(row.held_bytes),
                        row.recompute ? format_seconds(row.replay_seconds) : "");
  }
  const Prediction& predicted = step.predicted;
  const int64_t all = bytes_of_keeping_all(costs), held = held_bytes(costs, plan);
  page += fmt::format("\n  activations held {} of {} ({:.1f} %), base {}\n", bytes(held), bytes(all),
                      100.0 * static_cast<double>(held) / static_cast<double>(std::max<int64_t>(1, all)),
                      bytes(costs.base_bytes));
  page += fmt::format("  predicted: peak {}, step {}, exposed communication {}\n", bytes(predicted.peak_bytes),
                      format_seconds(predicted.step_seconds), format_seconds(predicted.exposed_seconds));
  if (step.gap > 0) page += fmt::format("  no plan within the budget is more than {:.2f} % faster\n", 100 * step.gap);
  return page + "  " + regime_of(costs, plan) + "\n";
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

}  // namespace reprise
