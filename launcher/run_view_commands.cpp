// For people who look on a run, while it lasts or afterwards.
#include <fmt/format.h>
#include <langinfo.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "launcher/cost_file.h"
#include "launcher/drawings.h"
#include "launcher/exit_codes.h"
#include "launcher/host_facts.h"
#include "launcher/plan_choice.h"
#include "launcher/program.h"
#include "launcher/run_directory.h"
#include "launcher/run_page.h"
#include "monitoring/format.h"
#include "monitoring/trace.h"
#include "training/errors.h"
#include "training/file_system.h"
#include "training/run_lock.h"

namespace reprise {
namespace {

struct WatchOptions {
  std::string directory;
  bool once = false, ascii = false;
};

TextStyle style_of(const WatchOptions& options, bool is_terminal) {
  TextStyle style{.width = 80, .height = 60};
  std::setlocale(LC_CTYPE, "");
  style.is_ascii = options.ascii || std::string_view(nl_langinfo(CODESET)) != "UTF-8";
  style.is_coloured = is_terminal && std::getenv("NO_COLOR") == nullptr;
  winsize size{};
  if (!is_terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return style;
  style.width = size.ws_col - 1;  // a character in the last column would make some terminals wrap
  if (!options.once) style.height = size.ws_row - 1;
  return style;
}

// Of a process of this host the system tells whether it lives; of another host's only what it says.
std::string state_of(const RunHistory& history, const std::string& directory) {
  if (history.end) return fmt::format("ended after {}", format_seconds(history.end->seconds));
  const auto age =
      std::filesystem::file_time_type::clock::now() - std::filesystem::last_write_time(directory + "/metrics.jsonl");
  const double seconds = std::max(0.0, std::chrono::duration<double>(age).count());
  const std::string news = fmt::format("last news {} ago", format_seconds(std::floor(seconds)));
  const std::optional<LockOwner> owner = read_lock_owner(directory + "/lock");
  if (!owner) return news;
  if (owner->pid == 0) return "not running, " + news;
  const bool is_here = owner->host == read_host_facts().host;
  const bool is_gone = is_here && kill(static_cast<pid_t>(owner->pid), 0) != 0 && errno == ESRCH;
  return is_gone ? fmt::format("{} is gone, {}", owner->text(), news) : news;
}

int watch(const WatchOptions& options) {
  const bool is_terminal = isatty(STDOUT_FILENO) == 1, follows = is_terminal && !options.once;
  JsonLinesReader reader = open_metrics(options.directory);
  std::string drawn;
  if (follows) fmt::print("\x1b[2J");
  while (true) {
    try {
      reader.read();
      const RunHistory& history = reader.history();
      const std::string state = state_of(history, options.directory);
      const std::string page = run_page(history, state, style_of(options, is_terminal));
      if (!follows) return fmt::print("{}", page), kDone;
      std::string screen = "\x1b[H";  // over the page before, line by line, so that nothing flickers
      for (const char c : page) screen += c == '\n' ? "\x1b[K\n" : std::string(1, c);
      if (screen != drawn) fmt::print("{}\x1b[J", screen);
      drawn = screen;
      std::fflush(stdout);
      if (history.end) return kDone;
    } catch (const std::system_error& error) {  // a run that begins anew takes its file away for a while
      if (!follows || error.code() != std::errc::no_such_file_or_directory) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

struct ReportOptions {
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

int report(const ReportOptions& options) {
  const JsonLinesReader metrics = open_metrics(options.directory);
  const RunHistory& history = metrics.history();
  const bool is_near = history.run.budget_bytes < 2 * history.run.planned_peak_bytes;
  const int64_t budget = is_near ? static_cast<int64_t>(history.run.budget_bytes) : 0;  // one far above flattens curves
  std::vector<std::string> figures = {draw_loss(history), draw_phases(history), draw_memory(history, budget)};
  std::string missing;
  const std::string costs = options.directory + "/costs.json";
  if (std::filesystem::exists(costs)) {
    const Config config = load_config(options.directory + "/config.yaml", {}, /*with_data=*/false);
    std::ranges::move(draw_plan(history, config, read_costs(costs), budget), std::back_inserter(figures));
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

struct MergeOptions {
  std::vector<std::string> inputs;
  std::string out = "trace.json";
};

int merge(const MergeOptions& options) {
  const auto folder_of = [](const std::filesystem::path& path) {
    return absolute(path).lexically_normal().parent_path();
  };
  for (const std::string& path : options.inputs) {
    if (folder_of(path) == folder_of(options.inputs[0])) continue;
    throw UsageError(fmt::format("trace merge: expected the files of one start, in one folder, got {} and {}",
                                 options.inputs[0], path));
  }
  merge_traces(options.inputs, options.out);
  fmt::print("{} files joined in {}; open it in https://ui.perfetto.dev or chrome://tracing\n", options.inputs.size(),
             options.out);
  return kDone;
}

}  // namespace

Command add_watch(CLI::App& app) {
  CLI::App* command = app.add_subcommand("watch", "A run in the terminal: progress, loss, memory, phases, ranks");
  const auto options = std::make_shared<WatchOptions>();
  command->add_option("RUN", options->directory, "Run directory, of a run that is under way or over")->required();
  command->add_flag("--once", options->once, "One page and done; so, too, when stdout is no terminal");
  command->add_flag("--ascii", options->ascii, "No other characters; so, too, unless the locale is UTF-8");
  command->footer(
      "Follows metrics.jsonl until the run's end or Ctrl-C, wherever the folder can be read.\n\n"
      "Example:\n  reprise watch runs/quickstart\n  reprise watch runs/quickstart --once --ascii | mail me");
  return {command, [options] { return watch(*options); }};
}

Command add_report(CLI::App& app) {
  CLI::App* command = app.add_subcommand("report", "A run as one HTML page: facts, loss, time, memory, frontier, plan");
  const auto options = std::make_shared<ReportOptions>();
  command->add_option("RUN", options->directory, "Run directory, of a run that is under way or over")->required();
  command->add_option("-o,--out", options->out, "The page; needs no other file and no network")->capture_default_str();
  command->footer("Example:\n  reprise report runs/quickstart -o report.html");
  return {command, [options] { return report(*options); }};
}

Command add_trace_merge(CLI::App& trace) {
  CLI::App* command = trace.add_subcommand("merge", "Join the ranks' traces of a run into one");
  const auto options = std::make_shared<MergeOptions>();
  command->add_option("FILES", options->inputs, "RUN/trace/rank-*.json")->required()->check(CLI::ExistingFile);
  command->add_option("-o,--out", options->out, "The joined trace")->capture_default_str();
  command->footer("Example:\n  reprise trace merge runs/quickstart/trace/rank-*.json -o trace.json");
  return {command, [options] { return merge(*options); }};
}

}  // namespace reprise
