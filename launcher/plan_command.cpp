#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/cost_file.h"
#include "launcher/drawings.h"
#include "launcher/exit_codes.h"
#include "launcher/joint_choice.h"
#include "launcher/measured_costs.h"
#include "launcher/plan_choice.h"
#include "launcher/plan_page.h"
#include "launcher/program.h"
#include "launcher/units.h"
#include "monitoring/format.h"
#include "monitoring/json_text.h"
#include "training/file_system.h"
#include "training/flat_model.h"

namespace reprise {
namespace {

struct Options {
  std::vector<std::string> words;  // CONFIG, then settings; either may be absent
  std::string costs, memory, wire, policy, timeline, plot = "frontier.svg";
  int ranks = 1;
  bool json = false, frontier = false, compare = false;

  bool has_config() const { return !words.empty() && words[0].find('=') == std::string::npos; }
};

Config read_config(const Options& options) {
  std::vector<std::string> settings(options.words.begin() + (options.has_config() ? 1 : 0), options.words.end());
  for (const std::string& setting : policy_settings(options.policy)) settings.push_back(setting);
  if (!options.memory.empty() && options.policy.empty()) {
    settings.insert(settings.end(), {"checkpointing.policy=budget", "checkpointing.budget=" + options.memory});
  }
  if (options.has_config()) return load_config(options.words[0], settings);
  Config config;
  for (const std::string& setting : settings) read_override(config, setting);
  return config;
}

void check_usage(const Options& options) {
  if (!options.has_config() && options.costs.empty())
    throw UsageError("plan: expected CONFIG or --costs FILE, got neither");
  if (options.ranks < 1) throw UsageError(fmt::format("--ranks: expected at least 1, got {}", options.ranks));
  if (options.ranks > 1 && !options.costs.empty())
    throw UsageError("--ranks: a cost table has its own; leave it out with --costs");
  if (!options.has_config()) {
    for (const std::string& word : options.words) {
      if (word.starts_with("checkpointing")) continue;
      throw UsageError(fmt::format("--costs: the table says what is measured; without CONFIG {} has no effect", word));
    }
  }
  if (!options.memory.empty() && !parse_bytes(options.memory) && !parse_percent(options.memory)) {
    throw UsageError(
        fmt::format("--memory: expected bytes such as 3GiB, or a share such as 90%, got {}", options.memory));
  }
}

// "50us,125MB": seconds a message and bytes a second.
WireModel parse_wire(const std::string& text) {
  const size_t comma = text.find(',');
  const auto latency = parse_seconds(text.substr(0, comma));
  const int64_t bandwidth = comma == std::string::npos ? 0 : parse_bytes(text.substr(comma + 1)).value_or(0);
  if (!latency || bandwidth < 1) {
    throw UsageError(fmt::format("--wire: expected latency,bytes per second such as 50us,125MB, got {}", text));
  }
  return {*latency, static_cast<double>(bandwidth)};
}

CostTable read_or_measure(const Options& options, const Config& config, const DeviceChoice& device) {
  constexpr double kSeconds = 4;
  CostTable costs;
  if (!options.costs.empty()) {
    costs = read_costs(options.costs);
    const int stages = options.has_config() ? StageChain(config.model).size() : costs.size();
    const int64_t micro = options.has_config() ? config.micro_sequences : costs.micro_sequences;
    if (stages != costs.size() || micro != costs.micro_sequences) {
      throw UsageError(
          fmt::format("--costs: expected a table of {} stages and micro-batches of {}, as in {}, got one of "
                      "{} stages and micro-batches of {}; `reprise profile` makes it",
                      stages, micro, options.words[0], costs.size(), costs.micro_sequences));
    }
  } else {
    costs = cached_costs(config, device, options.ranks, kSeconds, [&] {
      fmt::print(stderr, "measuring the stages on this machine, {} sequences at once: about {:.0f} s, once\n",
                 config.micro_sequences, kSeconds);
    });
  }
  if (options.wire == "none")
    costs.wire.reset();
  else if (!options.wire.empty())
    costs.wire = parse_wire(options.wire);
  return costs;
}

nlohmann::ordered_json json_of(const std::vector<PolicyRow>& rows) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const PolicyRow& row : rows) {
    list.push_back(JSON_FIELDS(row.policy, row.fits));
    if (row.predicted) list.back().update(prediction_json(*row.predicted));
  }
  return list;
}

nlohmann::ordered_json json_of(const std::vector<FrontierPoint>& points) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const FrontierPoint& point : points)
    list.push_back(JSON_FIELDS(point.peak_bytes, point.step_seconds, point.follows_gap));
  return list;
}

std::string frontier_page(const std::vector<FrontierPoint>& points) {
  constexpr size_t kMostLines = 24;  // spread evenly over all points, both ends shown
  const size_t lines = std::min(kMostLines, points.size());
  const std::string shown = lines < points.size() ? fmt::format(", {} of them shown", lines) : "";
  const auto gaps = std::count_if(points.begin(), points.end(), [](const auto& point) { return point.follows_gap; });
  const std::string sampled =
      gaps > 0 ? fmt::format(", the last {} at sampled budgets: others may lie between", gaps) : "";
  std::string page =
      fmt::format("frontier: {} points{}{}\n  {:>11} {:>11}\n", points.size(), shown, sampled, "peak", "step");
  for (size_t line = 0; line < lines; ++line) {
    const FrontierPoint& point = points[lines == 1 ? 0 : line * (points.size() - 1) / (lines - 1)];
    page += fmt::format("  {:>11} {:>11}\n", format_bytes(point.peak_bytes), format_seconds(point.step_seconds));
  }
  return page;
}

void report(const Options& options, const JointChoice& choice, std::optional<int64_t> budget) {
  const CostTable& costs = choice.costs;
  const PlannedStep& step = choice.planned;
  nlohmann::ordered_json json = plan_json(step);
  if (choice.rows.size() > 1) {
    fmt::print("{}\n", micro_page(choice));
    json["micro_sequences"] = costs.micro_sequences;
    json["micro_batches"] = micro_json(choice);
  }
  fmt::print("{}", plan_page(costs, step));
  if (budget && step.predicted.peak_bytes > *budget) fmt::print("does not fit --memory {}\n", format_bytes(*budget));
  fmt::print("{}", bucket_line(costs));
  const int64_t equal_budget = budget.value_or(step.predicted.peak_bytes);
  const std::vector<PolicyRow> rows =
      options.compare || options.frontier ? compare_policies(costs, equal_budget) : std::vector<PolicyRow>{};
  if (options.compare) {
    fmt::print("\n{}", compare_page(rows, equal_budget));
    json["policies"] = json_of(rows);
  }
  if (options.frontier) {
    const std::vector<FrontierPoint> points = frontier(costs);
    fmt::print("\n{}", frontier_page(points));
    write_durably(options.plot, draw_frontier(points, rows));
    fmt::print("  plot: {}\n", options.plot);
    json["frontier"] = json_of(points);
  }
  if (!options.timeline.empty()) {
    write_durably(options.timeline, draw_timeline(costs, step, budget.value_or(0)));
    fmt::print("timeline: {}\n", options.timeline);
  }
  if (options.json) fmt::print("{}\n", json.dump());
}

int refuse(const Options& options, const NothingFits& failure) {
  const std::string error = failure.what();
  if (options.json) fmt::print("{}\n", JSON_FIELDS(error, failure.smallest_peak_bytes).dump());
  fmt::print(stderr, "reprise: {}\n", error);
  return kDoesNotFit;
}

int plan(const Options& options) {
  check_usage(options);
  Config config = read_config(options);
  if (options.costs.empty() && !std::filesystem::exists(config.data_directory) &&
      config.origins.at("model.vocabulary") == "default") {
    fmt::print(stderr, "reprise: no {} yet, so this is for bytes; model.vocabulary=N plans for other tokens\n",
               config.data_directory);
  }
  if (!options.costs.empty() && config.micro_sequences == kAuto)
    config.micro_sequences = read_costs(options.costs).micro_sequences;
  try {
    const DeviceChoice device = options.costs.empty() ? choose_device(config) : DeviceChoice{};
    std::optional<int64_t> budget;
    if (!options.memory.empty()) budget = budget_bytes(config, options.memory, options.ranks);
    const auto measure = [&](const Config& candidate) { return read_or_measure(options, candidate, device); };
    std::optional<FlatLayout> layout;
    if (options.costs.empty()) layout = layout_of(StageChain(config.model));
    report(options, choose_jointly(config, options.ranks, options.ranks, layout ? &*layout : nullptr, measure), budget);
    return kDone;
  } catch (const InvalidSetting& error) {
    throw at_setting(config, error);
  } catch (const NothingFits& failure) {
    return refuse(options, failure);
  }
}

}  // namespace

Command add_plan(CLI::App& app) {
  CLI::App* command = app.add_subcommand("plan", "What is kept and what is recomputed, and what that costs");
  const auto options = std::make_shared<Options>();
  command
      ->add_option("CONFIG", options->words,
                   "Configuration (YAML), then settings key.sub=value; not needed with --costs")
      ->type_name("KEY=VALUE");
  command->add_option("--policy", options->policy, "Instead of the configuration's: NAME or NAME:VALUE");
  command->add_option("--memory", options->memory,
                      "Budget: the fastest plan whose peak fits; 3GiB, or 90% of this host");
  command->add_option("--costs", options->costs,
                      "Cost table of `reprise profile`, of the same model and precision; default: measured here");
  command->add_option("--wire", options->wire, "latency,bytes per second such as 50us,125MB; none: as if it were free");
  command->add_option("--ranks", options->ranks, "How many share the global batch")->capture_default_str();
  command->add_flag("--compare", options->compare, "All policies at an equal budget");
  command->add_flag("--frontier", options->frontier, "The fastest step at every peak, printed and plotted");
  command->add_option("--plot", options->plot, "SVG of --frontier")->capture_default_str();
  command->add_option("--timeline", options->timeline, "SVG of one step: compute, wire and memory");
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer(
      "Example:\n  reprise plan configs/quickstart.yaml --policy every:2\n"
      "  reprise plan --costs costs.json --memory 3GiB --compare --timeline step.svg");
  return {command, [options] { return plan(*options); }};
}

}  // namespace reprise
