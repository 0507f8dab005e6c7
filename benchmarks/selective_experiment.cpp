// Which layers to recompute: the classic greedy recipe under a figure of bytes to save, then the planner's exact choice
// at the same peak.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "benchmarks/experiments.h"

namespace reprise::bench {
namespace {

// Forward seconds of every stage as they are in whole steps, not of its kind alone: the median over some steps.
void measure_forwards(Bench& bench, Cell& none, CostTable& costs, int rounds) {
  std::vector<Cell> samples(costs.stages.size());
  for (int round = 0; round <= rounds; ++round) {
    for (const StageEvent& event : bench.step(none).events) {
      const bool counts = round > 0 && event.kind == EventKind::forward;
      if (counts) samples[static_cast<size_t>(event.stage)].seconds.push_back(event.end_seconds - event.start_seconds);
    }
  }
  for (size_t s = 0; s < samples.size(); ++s) costs.stages[s].forward_seconds = samples[s].median();
}

struct LayerProfile {
  double forward_seconds = 0;
  int64_t saved_bytes = 0;  // kept at `all`, less the boundary that a recomputed layer keeps
};

std::vector<LayerProfile> profile_of(const CostTable& costs, int layers) {
  std::vector<LayerProfile> profiles(static_cast<size_t>(layers));
  for (const StageCost& stage : costs.stages) {
    if (stage.layer < 0) continue;
    LayerProfile& profile = profiles[static_cast<size_t>(stage.layer)];
    if (profile.saved_bytes == 0) profile.saved_bytes -= stage.boundary_bytes;
    profile.saved_bytes += stage.at(SaveLevel::all).kept_bytes;
    profile.forward_seconds += stage.forward_seconds;
  }
  return profiles;
}

std::vector<int> recomputed_layers(const Plan& plan, const CostTable& costs) {
  std::vector<int> layers;
  for (const Segment& segment : plan.segments) {
    for (int s = segment.first; segment.recompute && s <= segment.last; ++s) {
      const int layer = costs[s].layer;
      if (layers.empty() || layers.back() != layer) layers.push_back(layer);
    }
  }
  return layers;
}

Table layer_table(const std::vector<LayerProfile>& profiles, const std::vector<int>& greedy, const Plan& exact) {
  Table table{"The profile that the recipe looks at, and what was chosen",
              {"layer", "forward ms", "MiB to save", "MiB per ms", "greedy", "exact (attention, feed-forward)"}};
  const std::string strip = strip_of({.segments = exact.segments, .save = exact.save});
  std::string marks;  // one a stage
  for (const char mark : strip) marks += mark == '|' ? "" : std::string(1, mark);
  for (size_t i = 0; i < profiles.size(); ++i) {
    const bool is_chosen = std::count(greedy.begin(), greedy.end(), static_cast<int>(i)) > 0;
    table.rows.push_back({std::to_string(i), fmt::format("{:.2f}", 1e3 * profiles[i].forward_seconds),
                          fmt::format("{:.2f}", mib(profiles[i].saved_bytes)),
                          fmt::format("{:.2f}", mib(profiles[i].saved_bytes) / (1e3 * profiles[i].forward_seconds)),
                          is_chosen ? "recompute" : "keep", marks.substr(1 + 2 * i, 2)});
  }
  return table;
}

double planned_extra(const Cell& none, const Cell& cell) {
  return cell.planned.predicted.step_seconds - none.planned.predicted.step_seconds;
}

double measured_extra(const Cell& none, const Cell& cell) { return (ratio_to(none, cell).median - 1) * none.median(); }

Figure plot(const CostTable& costs, const std::vector<Cell>& cells) {
  const Cell& none = cells.front();
  Series best{"exact, at every peak (planned)", Shape::steps};
  const std::vector<FrontierPoint> points = frontier(costs);
  for (auto point = points.rbegin(); point != points.rend(); ++point) {
    const double extra = point->step_seconds - none.planned.predicted.step_seconds;
    best.points.push_back({mib(point->peak_bytes), 1e3 * extra});
  }
  Figure figure{.title = "Bytes saved against time spent",
                .x_title = "peak tensor bytes of a step (MiB)",
                .panels = {{.y_title = "longer than keeping everything (ms a step)", .series = {best}}}};
  const auto add = [&](const std::string& name, int64_t peak, double extra) {
    figure.panels[0].series.push_back({name, Shape::points, {{mib(peak), 1e3 * extra}}});
  };
  add("greedy, planned", cells[1].planned.predicted.peak_bytes, planned_extra(none, cells[1]));
  add("greedy, measured", cells[1].peak_bytes, measured_extra(none, cells[1]));
  add("exact, measured", cells[2].peak_bytes, measured_extra(none, cells[2]));
  return figure;
}

}  // namespace

Finding run_selective(const Options& options) {
  const Config asked = configure(
      options, Objective::regression,
      options.is_gpu()
          ? settings({"layers=10", "width=1024", "heads=32", "feed_forward=16384", "context=256"}, 4, "greedy=1000MB")
          : settings({"layers=10", "width=192", "heads=6", "context=128"}, 2, "greedy=12MB"));
  Sized sized = fit_layers(asked, 4);
  Bench bench(sized.config);
  std::vector<Cell> cells;
  cells.push_back(bench.cell("none", sized.costs, named(sized.costs, "none", 1, SaveLevel::all)));
  measure_forwards(bench, cells.front(), sized.costs, 7);
  const CostTable& costs = sized.costs;
  cells.front() = bench.cell("none", costs, cells.front().planned.plan);
  cells.push_back(bench.cell("greedy", costs, greedy_plan(costs, asked.budget.greedy_bytes)));
  const Plan exact = fastest_plan(costs, cells.back().planned.predicted.peak_bytes).plan;
  cells.push_back(bench.cell("exact", costs, exact));
  bench.execute(cells, options.rounds_or(15), 2);

  const Cell& none = cells.front();
  Table table{"The two choices, executed",
              {"plan", "layers replayed", "peak", "planned peak", "saved", "extra ms", "planned extra"}};
  Json rows = Json::array();
  for (const Cell& cell : cells) {
    const std::vector<int> layers = recomputed_layers(cell.planned.plan, costs);
    const double extra = measured_extra(none, cell), planned = planned_extra(none, cell);
    table.rows.push_back({cell.name, fmt::format("[{}]", fmt::join(layers, " ")), bytes(cell.peak_bytes),
                          bytes(cell.planned.predicted.peak_bytes), in_mib(none.peak_bytes - cell.peak_bytes),
                          fmt::format("{:+.1f}", 1e3 * extra), fmt::format("{:+.1f}", 1e3 * planned)});
    Json row = json_of(cell, "plan");
    row["layers"] = layers;
    row["plan"] = strip_of(cell.planned.plan);
    row["extra_seconds"] = extra;
    row["extra_half_quartile_distance"] = ratio_to(none, cell).half_width * none.median();
    row["extra_seconds_planned"] = planned;
    rows.push_back(row);
  }
  const std::vector<int> greedy = recomputed_layers(cells[1].planned.plan, costs);
  const auto extra_ms = [&](size_t i, const char* key) { return 1e3 * rows[i][key].get<double>(); };
  Finding finding;
  finding.claim = "recompute the layers with the most bytes per millisecond of forward until enough is saved";
  finding.measured = fmt::format(
      "greedy saves {} for {:+.1f} ± {:.1f} ms a step ({:+.1f} planned); the exact plan at the same peak takes {:+.1f} "
      "± "
      "{:.1f} ms ({:+.1f} planned)",
      in_mib(none.peak_bytes - cells[1].peak_bytes), extra_ms(1, "extra_seconds"),
      extra_ms(1, "extra_half_quartile_distance"), extra_ms(1, "extra_seconds_planned"), extra_ms(2, "extra_seconds"),
      extra_ms(2, "extra_half_quartile_distance"), extra_ms(2, "extra_seconds_planned"));
  finding.notes = {
      "in the strips: = keep all, - without what is cheap to compute again, . input only, r recompute",
      "bytes to save: checkpointing.greedy=BYTES; layers of one size differ by noise alone, so the recipe's "
      "order among them says nothing"};
  if (!sized.note.empty()) finding.notes.push_back(sized.note);
  finding.tables = {layer_table(profile_of(costs, sized.config.model.layers), greedy, exact), table};
  finding.figure = plot(costs, cells);
  finding.numbers = {{"greedy_layers", greedy}, {"bytes_to_save", asked.budget.greedy_bytes}, {"rows", rows}};
  return finding;
}

}  // namespace reprise::bench
