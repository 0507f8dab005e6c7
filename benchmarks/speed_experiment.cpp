// Time of a training step under every policy, interleaved.
#include <fmt/format.h>

#include "benchmarks/experiments.h"

namespace reprise::bench {

Finding run_speed(const Options& options) {
  const Config asked = configure(
      options, Objective::regression,
      options.is_gpu()
          ? settings({"layers=20", "width=1024", "heads=32", "feed_forward=16384", "context=512"}, 4, "group=2")
          : settings({"layers=6", "width=192", "heads=6", "context=128"}, 2, "group=2"));
  const Sized sized = fit_layers(asked, 4);
  Bench bench(sized.config);
  std::vector<Cell> cells = cells_of_policies(bench, sized.config, sized.costs);
  constexpr int kWarmUps = 5, kRounds = 20;
  bench.execute(cells, options.rounds_or(kRounds), kWarmUps);

  Table table{"A training step: forward, backward, Adam",
              {"policy", "ms", "spread", "slowdown", "its spread", "planned slowdown", "peak", "of none"}};
  const Cell& none = cells.front();
  std::vector<std::string> names;
  std::vector<double> measured, planned;
  Series whiskers;
  Json rows = Json::array();
  for (const Cell& cell : cells) {
    const Ratio ratio = ratio_to(none, cell);
    const double expected = cell.planned.predicted.step_seconds / none.planned.predicted.step_seconds;
    table.rows.push_back({cell.name, milliseconds(cell.median()), fmt::format("± {}", percent(cell.spread())),
                          fmt::format("{:.3f}", ratio.median), fmt::format("± {:.3f}", ratio.half_width),
                          fmt::format("{:.3f}", expected), bytes(cell.peak_bytes),
                          percent(static_cast<double>(cell.peak_bytes) / static_cast<double>(none.peak_bytes))});
    names.push_back(cell.name);
    measured.push_back(100 * (ratio.median - 1));
    planned.push_back(100 * (expected - 1));
    Json row = json_of(cell, "policy");
    row["slowdown"] = ratio.median;
    row["slowdown_half_quartile_distance"] = ratio.half_width;
    row["slowdown_planned"] = expected;
    rows.push_back(row);
  }
  Finding finding;
  finding.claim = "recomputing every 2–4 layers costs 10–20 % time, recomputing all of them a third";
  finding.measured = fmt::format(
      "{} costs {:+.1f} % ({:+.1f} % planned), full {:+.1f} %, the planner at the same peak "
      "{:+.1f} %",
      names[1], measured[1], planned[1], measured[2], measured.back());
  finding.notes = {
      "slowdown: the median over rounds of a step over the `none` step of the same round; spread: half the "
      "distance of the quartiles",
      "the planner keeps cheap bytes and recomputes inside stages (save levels), hence less time at "
      "the same peak"};
  if (!sized.note.empty()) finding.notes.push_back(sized.note);
  finding.tables = {table};
  finding.figure = {.title = "What each policy costs in time",
                    .x_title = "policy",
                    .x_names = names,
                    .panels = {{.y_title = "longer than none (% of its step)",
                                .series = {bars("measured", measured, 0, 2), bars("planned", planned, 1, 2)}}},
                    .width = 820};
  finding.numbers = {{"rows", rows}};
  return finding;
}

}  // namespace reprise::bench
