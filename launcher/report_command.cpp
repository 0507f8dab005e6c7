#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <regex>
#include <string>

#include "launcher/cost_file.h"
#include "launcher/drawings.h"
#include "launcher/exit_codes.h"
#include "launcher/plan_choice.h"
#include "launcher/program.h"
#include "launcher/run_directory.h"
#include "launcher/run_page.h"
#include "monitoring/format.h"
#include "training/errors.h"
#include "training/file_system.h"

namespace reprise {
namespace {

struct Options {
  std::string directory, out = "report.html";
};

// A figure's marks and hatches have names, which must be its own among all figures of a page.
std::string figure_in_page(const std::string& svg, int number) {
  static const std::regex names(R"re((id="|url\(#)(hatch|mark))re");
  return "<figure>" + std::regex_replace(svg, names, fmt::format("$1f{}-$2", number)) + "</figure>\n";
}

// The frontier of the costs that the run measured at its start, with its plan as promised and as it turned out; and
// the step that the plan promises.
std::vector<std::string> draw_plan(const RunHistory& history, const Config& config, const CostTable& costs,
                                   int64_t budget_bytes) {
  const PlannedStep planned = choose_plan(config, costs, 1);
  if (strip_of(planned.plan) != history.run.plan) {
    throw DataError(fmt::format("costs.json: expected costs that give the run's plan {}, got {}", history.run.plan,
                                strip_of(planned.plan)));
  }
  std::vector<PolicyRow> rows = {{"this run, planned", planned.predicted, true}};
  if (history.end) {
    rows.push_back({"this run, measured",
                    Prediction{.step_seconds = history.end->median_step_seconds,
                               .peak_bytes = static_cast<int64_t>(history.end->peak_bytes_max)},
                    true});
  }
  return {draw_frontier(frontier(costs), rows), draw_timeline(costs, planned, budget_bytes)};
}

int report(const Options& options) {
  const JsonLinesReader metrics = open_metrics(options.directory);
  const RunHistory& history = metrics.history();
  const bool is_near = history.run.budget_bytes < 2 * history.run.planned_peak_bytes;
  const int64_t budget = is_near ? static_cast<int64_t>(history.run.budget_bytes) : 0;  // one far above flattens curves
  std::vector<std::string> figures = {draw_loss(history), draw_phases(history), draw_memory(history, budget)};
  std::string missing;
  const std::string costs = options.directory + "/costs.json";
  if (std::filesystem::exists(costs)) {
    const Config config = load_config(options.directory + "/config.yaml", {}, /*with_data=*/false);
    for (std::string& figure : draw_plan(history, config, read_costs(costs), budget)) {
      figures.push_back(std::move(figure));
    }
  } else {
    missing = "<p>No frontier and no timeline: the run has no costs.json, from which they are drawn.</p>\n";
  }
  const std::string title = escape_markup("Run " + history.run.run);
  std::string page = fmt::format(R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{0}</title>
<style>
body {{font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em}}
th {{text-align: left; padding-right: 2em; vertical-align: top}}
figure {{margin: 2em 0}}
svg {{max-width: 100%; height: auto}}
</style></head><body>
<h1>{0}</h1>
<table>
)",
                                 title);
  for (const auto& [name, text, share] : facts_of(history)) {
    page += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escape_markup(name), escape_markup(text));
  }
  page += "</table>\n<p>The plan has one character a stage: = keeps all, - lean, . its input only, r recomputes.</p>\n";
  page += missing;
  for (size_t i = 0; i < figures.size(); ++i) page += figure_in_page(figures[i], static_cast<int>(i));
  write_durably(options.out, page + "</body></html>\n");
  fmt::print("{}: {} figures, {}\n", options.out, figures.size(), format_bytes(static_cast<double>(page.size())));
  return kDone;
}

}  // namespace

Command add_report(CLI::App& app) {
  CLI::App* command = app.add_subcommand("report", "A run as one HTML page: facts, loss, time, memory, frontier, plan");
  const auto options = std::make_shared<Options>();
  command->add_option("RUN", options->directory, "Run directory, of a run that is under way or over")->required();
  command->add_option("-o,--out", options->out, "The page; needs no other file and no network")->capture_default_str();
  command->footer("Example:\n  reprise report runs/quickstart -o report.html");
  return {command, [options] { return report(*options); }};
}

}  // namespace reprise
