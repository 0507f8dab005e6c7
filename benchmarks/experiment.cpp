#include "benchmarks/experiment.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/cuda.h>

#include <filesystem>
#include <numeric>

#include "benchmarks/overlap_bench.h"
#include "benchmarks/report.h"
#include "launcher/joint_choice.h"
#include "launcher/measured_costs.h"
#include "launcher/plan_choice.h"
#include "monitoring/format.h"
#include "training/file_system.h"

namespace reprise::bench {
namespace {

void print_table(const Table& table) {
  std::vector<size_t> widths;
  const auto measure = [&](const std::vector<std::string>& row) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], static_cast<size_t>(text_length(row[i])));
    }
  };
  measure(table.head);
  for (const auto& row : table.rows) measure(row);
  const auto print_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string air(widths[i] - static_cast<size_t>(text_length(row[i])), ' ');
      line += (i == 0 ? "  " : "   ") + (i == 0 ? row[i] + air : air + row[i]);
    }
    fmt::print("{}\n", line);
  };
  fmt::print("{}\n", table.title);
  print_row(table.head);
  const size_t width = std::accumulate(widths.begin(), widths.end(), 3 * (widths.size() - 1));
  fmt::print("  {}\n", std::string(width, '-'));
  for (const auto& row : table.rows) print_row(row);
  fmt::print("\n");
}

Json settings_of(const Options& options) {
  return {{"scale", options.scale}, {"overrides", options.overrides}, {"machine", machine_facts()}};
}

}  // namespace

Finding carry_out(const Experiment& experiment, const Options& options) {
  const Finding finding = experiment.run(options);
  fmt::print("{}\n{}\n\n", experiment.title, experiment.question);
  for (const Table& table : finding.tables) print_table(table);
  fmt::print("Known:    {}\nMeasured: {}\n", finding.claim, finding.measured);
  for (const std::string& note : finding.notes) fmt::print("Note:     {}\n", note);
  const Json result{{"experiment", experiment.name}, {"settings", settings_of(options)}, {"claim", finding.claim},
                    {"measured", finding.measured},  {"notes", finding.notes},           {"numbers", finding.numbers}};
  std::filesystem::create_directories(options.out);
  write_durably(options.out + "/result.json", result.dump(2) + "\n");
  write_durably(options.out + "/" + experiment.name + ".svg", draw(finding.figure));
  fmt::print("Files:    {0}/result.json, {0}/{1}.svg\n\n", options.out, experiment.name);
  std::fflush(stdout);
  return finding;
}

void print_progress(const std::string& text) { fmt::print(stderr, "… {}\n", text); }

std::vector<std::string> settings(const std::vector<std::string>& model, int64_t sequences,
                                  const std::string& checkpointing) {
  std::vector<std::string> all{"model.family=postnorm", fmt::format("batch.global_sequences={}", sequences)};
  for (const std::string& setting : model) all.push_back("model." + setting);
  if (!checkpointing.empty()) all.push_back("checkpointing." + checkpointing);
  return all;
}

Config configure(const Options& options, Objective objective, const std::vector<std::string>& settings) {
  if (options.is_gpu() && torch::cuda::device_count() == 0) {
    throw ConfigError("--scale gpu: expected a CUDA device, got none; --scale cpu shows the same at a smaller size");
  }
  Config config;
  config.source = "bench";
  config.run.device = options.is_gpu() ? "cuda" : "cpu";
  config.data_directory = "none";  // experiments make their own
  config.model.objective = objective;
  config.micro_sequences = int64_t{1} << 20;  // the whole batch, unless the user says otherwise
  for (const std::string& setting : settings) read_override(config, setting);
  for (auto& [key, origin] : config.origins) origin = "the experiment's own";
  for (const std::string& setting : options.overrides) read_override(config, setting);
  complete(config, /*with_data=*/false);
  if (!options.is_gpu()) choose_device(config);  // refuses what the CPU cannot do
  return config;
}

Sized fit_layers(const Config& config, double seconds) {
  print_progress(fmt::format("measuring the stages of {} layers of width {}", config.model.layers, config.model.width));
  Sized sized{.config = config, .costs = measure_costs(config, device_for(config), 1, seconds)};
  sized.whole = sized.costs;
  const int64_t available = budget_bytes(config, config.budget.budget, 1);
  const auto peak = [](const CostTable& costs) {
    return predict(costs, named(costs, "none", 1, SaveLevel::all)).peak_bytes;
  };
  const int64_t needed = peak(sized.whole);
  if (needed <= available) return sized;
  Config single = config;
  single.model.layers = 1;
  const int64_t least = peak(measure_costs(single, device_for(single), 1, 0));
  const int64_t per_layer = (needed - least) / std::max(1, config.model.layers - 1);
  if (least > available) {
    throw NothingFits(fmt::format("one layer needs {}, the memory has {}", bytes(least), bytes(available)), least);
  }
  sized.config.model.layers = 1 + static_cast<int>((available - least) / per_layer);
  sized.costs = measure_costs(sized.config, device_for(config), 1, seconds);
  sized.note =
      fmt::format("{} layers need {} with nothing recomputed and {} are there: {} layers ran, the rest is formula",
                  config.model.layers, bytes(needed), bytes(available), sized.config.model.layers);
  return sized;
}

const std::vector<std::string>& compared_policies() {
  static const std::vector<std::string> policies = {"none", "group", "full", "every", "ratio", "sqrt", "budget"};
  return policies;
}

PlannedStep plan_of_policy(const Config& config, const CostTable& costs, const std::string& policy,
                           int64_t budget_bytes) {
  return choose_plan(with_policy(config, policy, budget_bytes), costs, 1);
}

std::vector<Cell> cells_of_policies(Bench& bench, const Config& config, const CostTable& costs) {
  const int64_t budget = plan_of_policy(config, costs, "group").predicted.peak_bytes;
  std::vector<Cell> cells;
  for (const std::string& policy : compared_policies()) {
    const Plan plan = plan_of_policy(config, costs, policy, budget).plan;
    cells.push_back(bench.cell(policy == "budget" ? "budget of group" : plan.origin, costs, plan));
  }
  return cells;
}

std::string bytes(int64_t count) { return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, count))); }
std::string in_mib(double count) { return fmt::format("{:.2f} MiB", count / (1 << 20)); }
std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string milliseconds(double value) { return fmt::format("{:.1f}", 1e3 * value); }

Ratio ratio_to(const Cell& reference, const Cell& cell) {
  Cell ratios;
  for (size_t i = 0; i < cell.seconds.size(); ++i) ratios.seconds.push_back(cell.seconds[i] / reference.seconds[i]);
  return {ratios.median(), ratios.spread() * ratios.median()};
}

Series bars(const std::string& name, const std::vector<double>& values, int index, int count) {
  constexpr double kShare = 0.8;  // of the room between two names
  const double width = kShare / count;
  Series series{name, Shape::boxes};
  for (size_t i = 0; i < values.size(); ++i) {
    const double left = static_cast<double>(i) - kShare / 2 + index * width;
    series.points.push_back({.x = left, .y = 0, .x_end = left + width, .y_end = values[i]});
  }
  return series;
}

}  // namespace reprise::bench
