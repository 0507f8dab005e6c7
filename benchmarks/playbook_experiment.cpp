// When checkpointing pays: three depths at two sequence lengths, then the user's own configuration.
#include <fmt/format.h>

#include <limits>

#include "benchmarks/experiments.h"
#include "launcher/joint_choice.h"
#include "launcher/measured_costs.h"
#include "launcher/plan_choice.h"

namespace reprise::bench {
namespace {

constexpr double kTimeAllowed = 0.10, kWorthwhile = 0.20;  // of the step; of the peak

// One model: what there is to save, and what of it the planner saves for a tenth of the time.
struct Row {
  std::string name;
  int64_t none_bytes = 0, cheap_bytes = 0;
  double activations = 0;            // share of the peak
  double saved = 0, at_most = 0;     // of the peak, for a tenth of the time and at any price
  double slowdown = 0, planned = 0;  // of the cheap plan

  bool pays() const { return saved >= kWorthwhile; }
  std::string verdict() const {
    if (at_most < kWorthwhile) return "no: activations are a small share";
    return pays() ? "yes" : "only if it would not fit";
  }
};

// The smallest peak whose planned step is at most a tenth longer than the fastest.
int64_t cheap_peak(const CostTable& costs, double none_seconds) {
  int64_t peak = std::numeric_limits<int64_t>::max();
  for (const FrontierPoint& point : frontier(costs)) {
    if (point.step_seconds <= (1 + kTimeAllowed) * none_seconds) peak = std::min(peak, point.peak_bytes);
  }
  return peak;
}

Row measure(const Config& config, int rounds, const std::string& name) {
  print_progress(name);
  const CostTable costs = measure_costs(config, device_for(config), 1, 1);
  Bench bench(config);
  std::vector<Cell> cells;
  cells.push_back(bench.cell("none", costs, named(costs, "none", 1, SaveLevel::all)));
  const Prediction none = cells.front().planned.predicted;
  cells.push_back(bench.cell("cheap", costs, fastest_plan(costs, cheap_peak(costs, none.step_seconds)).plan));
  bench.execute(cells, rounds, 2);
  Row row{.name = name, .none_bytes = cells[0].peak_bytes, .cheap_bytes = cells[1].peak_bytes};
  const auto share = [&](int64_t count) { return static_cast<double>(count) / static_cast<double>(row.none_bytes); };
  row.activations = 1 - share(costs.base_bytes);
  row.saved = 1 - share(row.cheap_bytes);
  row.at_most = 1 - share(smallest_peak(costs));
  row.slowdown = ratio_to(cells[0], cells[1]).median - 1;
  row.planned = cells[1].planned.predicted.step_seconds / none.step_seconds - 1;
  return row;
}

// The settings of the command line hold for the grid too, but for what it varies.
std::vector<Row> measure_grid(const Options& options) {
  const std::vector<int> depths = options.is_gpu() ? std::vector{6, 12, 24} : std::vector{2, 4, 8};
  const std::vector<int> lengths = options.is_gpu() ? std::vector{512, 2048} : std::vector{32, 256};
  const std::vector<std::string> own =
      options.is_gpu() ? settings({"width=1024", "heads=32"}, 4) : settings({"width=128", "heads=4"}, 4);
  std::vector<Row> rows;
  for (const int layers : depths) {
    for (const int length : lengths) {
      Options cell = options;
      if (!options.file.empty()) cell.overrides.clear();  // they are meant for the file
      cell.overrides.insert(cell.overrides.end(), {"model.family=postnorm", fmt::format("model.layers={}", layers),
                                                   fmt::format("model.context={}", length)});
      rows.push_back(measure(configure(cell, Objective::regression, own), options.rounds_or(7),
                             fmt::format("{} layers, T {}", layers, length)));
    }
  }
  return rows;
}

Config user_config(const Options& options) {
  if (!options.file.empty()) {
    Config config = load_config(options.file, options.overrides, /*with_data=*/false);
    config.run.device = options.is_gpu() ? "cuda" : "cpu";
    return config;
  }
  return configure(options, Objective::next_token,
                   {"model.family=gpt2", "model.layers=6", "model.width=192", "model.heads=6", "model.context=128",
                    "batch.global_sequences=4"});
}

// What to write into the user's configuration, from its measured costs.
std::string recommend(Config config, std::vector<std::string>& notes) {
  print_progress("measuring the configuration that the recommendation is for");
  if (config.micro_sequences == kAuto) config.micro_sequences = 1;
  const CostTable costs = measure_costs(config, device_for(config), 1, 2);
  const int64_t available = budget_bytes(config, "90%", 1);
  const PlannedStep none = plan_of_policy(config, costs, "none");
  const std::string size = fmt::format("{} layers, width {}, T {}, micro-batch {}", config.model.layers,
                                       config.model.width, config.model.context, config.micro_sequences);
  notes.push_back(fmt::format(
      "your configuration ({}): {} with nothing recomputed, {} of it activations; 90 % of the "
      "memory is {}",
      size, bytes(none.predicted.peak_bytes), bytes(none.predicted.peak_bytes - costs.base_bytes), bytes(available)));
  if (none.predicted.peak_bytes <= available) return "recommended: checkpointing.policy: none, for everything fits";
  try {
    const PlannedStep best = fastest_plan(costs, available);
    return fmt::format(
        "recommended: checkpointing.policy: budget and checkpointing.budget: 90%, which costs {:+.1f} % "
        "a step ({})",
        100 * (best.predicted.step_seconds / none.predicted.step_seconds - 1), strip_of(best.plan));
  } catch (const DoesNotFit& failure) {
    return "recommended: a smaller micro-batch; " + what_would_fit(failure, costs, available);
  }
}

Figure plot(const std::vector<Row>& rows) {
  std::vector<std::string> names;
  std::vector<double> activations, at_most, saved, slowdown, planned;
  for (const Row& row : rows) {
    names.push_back(row.name);
    activations.push_back(100 * row.activations);
    at_most.push_back(100 * row.at_most);
    saved.push_back(100 * row.saved);
    slowdown.push_back(100 * row.slowdown);
    planned.push_back(100 * row.planned);
  }
  return {.title = "What a tenth of the time buys",
          .x_title = "model",
          .x_names = names,
          .panels = {{.y_title = "share of the peak (%)",
                      .series = {bars("activations", activations, 0, 3),
                                 bars("saved at any price (planned)", at_most, 1, 3),
                                 bars("saved for a tenth of the time", saved, 2, 3)},
                      .share = 0.5},
                     {.y_title = "longer than none (% of its step)",
                      .series = {bars("measured", slowdown, 0, 2), bars("planned", planned, 1, 2)},
                      .share = 0.5}},
          .width = 860,
          .height = 520};
}

}  // namespace

Finding run_playbook(const Options& options) {
  const Config own = user_config(options);  // first, for its mistakes should be told at once
  const std::vector<Row> rows = measure_grid(options);
  Table table{"What the planner saves of the peak for a tenth of the time, and at any price",
              {"model", "peak", "activations", "saved", "slower", "planned", "saved at any price", "does it pay?"}};
  Json list = Json::array();
  int paying = 0;
  for (const Row& row : rows) {
    paying += row.pays();
    table.rows.push_back({row.name, bytes(row.none_bytes), percent(row.activations), percent(row.saved),
                          fmt::format("{:+.1f} %", 100 * row.slowdown), fmt::format("{:+.1f} %", 100 * row.planned),
                          percent(row.at_most), row.verdict()});
    list.push_back({{"name", row.name},
                    {"none_peak_bytes", row.none_bytes},
                    {"cheap_peak_bytes", row.cheap_bytes},
                    {"activations_share", row.activations},
                    {"saved_share", row.saved},
                    {"saved_at_any_price", row.at_most},
                    {"slowdown", row.slowdown},
                    {"slowdown_planned", row.planned},
                    {"pays", row.pays()}});
  }
  Finding finding;
  const std::string recommended = recommend(own, finding.notes);
  finding.claim = "checkpointing pays for deep models on long sequences, and not where activations are a small share";
  finding.measured = fmt::format("it pays in {} of {} cases (a fifth of the peak or more for a tenth of the time); {}",
                                 paying, rows.size(), recommended);
  finding.tables = {table};
  finding.figure = plot(rows);
  finding.numbers = {{"rows", list}, {"recommended", recommended}};
  return finding;
}

}  // namespace reprise::bench
