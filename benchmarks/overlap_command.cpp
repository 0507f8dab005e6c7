#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "benchmarks/bench_commands.h"
#include "benchmarks/overlap_bench.h"
#include "launcher/config.h"
#include "launcher/drawings.h"
#include "launcher/exit_codes.h"
#include "launcher/job.h"
#include "launcher/joint_choice.h"
#include "launcher/spelling.h"
#include "launcher/units.h"
#include "monitoring/format.h"
#include "training/file_system.h"

namespace reprise {

namespace {

struct Options {
  std::string config, memory, line, timelines;
  std::vector<std::string> overrides, policies = {"none", "full", "every:2", "budget", kBudgetWithoutWire};
  int rounds = 7;
  bool json = false;
};

int64_t bytes_of(const std::string& option, const std::string& text) {
  if (text.empty()) return 0;
  const auto bytes = parse_bytes(text);
  if (!bytes || *bytes < 1) throw UsageError(fmt::format("{}: expected bytes such as 120MB, got {}", option, text));
  return *bytes;
}

void print_row(const OverlapRow& row) {
  const double step = row.overlapped.median;
  const auto ms = [](double seconds) { return fmt::format("{:.1f}", 1e3 * seconds); };
  fmt::print(
      "{:<16} {:>10} {:>9} {:>9} {:>9} {:>9} {:>6.1f} % {:>8.2f} {:>9} {:>7.3f} {:>9} {:>+6.1f} % {:>5.0f} %  {}\n",
      row.policy, format_bytes(static_cast<uint64_t>(row.peak_bytes)), ms(row.compute.median), ms(row.alone.median),
      ms(step), ms(row.serial.median), 100 * row.overlapped.half_width / step, row.exposed_share(),
      ms(row.bound_seconds), step / row.bound_seconds, ms(row.planned.predicted.step_seconds),
      100 * (row.planned.predicted.step_seconds / step - 1), 100 * row.core_share, strip_of(row.planned.plan));
}

nlohmann::ordered_json json_of(const OverlapRow& row) {
  const auto spread = [](const Spread& times) {
    return nlohmann::ordered_json{{"median", times.median}, {"half_quartile_distance", times.half_width}};
  };
  return {{"policy", row.policy},
          {"plan", strip_of(row.planned.plan)},
          {"buckets", row.costs.buckets.size()},
          {"peak_bytes", row.peak_bytes},
          {"compute_seconds", spread(row.compute)},
          {"all_reduce_seconds", spread(row.alone)},
          {"overlapped_seconds", spread(row.overlapped)},
          {"serial_seconds", spread(row.serial)},
          {"exposed_share", row.exposed_share()},
          {"bound_seconds", row.bound_seconds},
          {"ratio_to_bound", row.overlapped.median / row.bound_seconds},
          {"simulated_seconds", row.planned.predicted.step_seconds},
          {"core_share", row.core_share}};
}

void print_rows(const Options& options, const std::vector<OverlapRow>& rows) {
  fmt::print("{:<16} {:>10} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>7} {:>9} {:>8} {:>7}  {}\n", "policy (ms)",
             "peak", "compute", "alone", "overlap", "serial", "spread", "exposed", "bound", "ratio", "simulated",
             "miss", "core", "plan");
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const OverlapRow& row : rows) {
    print_row(row);
    list.push_back(json_of(row));
  }
  if (rows.front().costs.wire) fmt::print("{}\n", bucket_line(rows.front().costs));
  if (options.json) fmt::print("{}\n", nlohmann::ordered_json{{"rows", list}}.dump());
}

TimelineKind kind_of(EventKind kind) {
  switch (kind) {
    case EventKind::forward:
      return TimelineKind::forward;
    case EventKind::recompute:
      return TimelineKind::replay;
    default:
      return TimelineKind::backward;
  }
}

// The drawing of `plan --timeline` of a step as it was measured: bytes at the end of each stage, times from its start.
std::string draw_measured(const CostTable& costs, const std::string& policy, const RehearsedStep& step) {
  Timeline timeline;
  const double start = step.start_seconds;
  for (const StageEvent& event : step.events) {
    timeline.events.push_back(
        {kind_of(event.kind), event.stage, event.micro_batch, event.start_seconds - start, event.end_seconds - start});
    timeline.memory.push_back({event.end_seconds - start, static_cast<int64_t>(event.live_bytes)});
  }
  int bucket = 0;
  for (const WireInterval& interval : step.wire.buckets) {
    timeline.events.push_back(
        {TimelineKind::wire, bucket++, 0, interval.started_seconds - start, interval.finished_seconds - start});
  }
  timeline.events.push_back(
      {TimelineKind::optimizer, -1, 0, step.step_seconds - step.optimizer_seconds, step.step_seconds});
  return draw_step(fmt::format("One step under {}, measured: {}", policy, format_seconds(step.step_seconds)), costs,
                   timeline, 0);
}

void draw(const Options& options, const std::vector<OverlapRow>& rows) {
  if (options.timelines.empty()) return;
  std::filesystem::create_directories(options.timelines);
  for (const OverlapRow& row : rows) {
    std::string name = row.policy == kBudgetWithoutWire ? "budget-no-wire" : row.policy;
    std::replace(name.begin(), name.end(), ':', '-');
    const std::string stem = options.timelines + "/" + name;
    write_durably(stem + "-simulated.svg", draw_timeline(row.costs, row.planned, 0));
    write_durably(stem + "-measured.svg", draw_measured(row.costs, row.policy, row.example));
  }
}

int bench_overlap(const Options& options) {
  Config config = load_config(options.config, options.overrides, false);
  OverlapSetting setting{.policies = options.policies, .rounds = options.rounds};
  setting.budget_bytes = bytes_of("--memory", options.memory);
  setting.line_bytes_per_second = static_cast<double>(bytes_of("--line-rate", options.line));
  if (job_from_environment().ranks < 2) {
    throw UsageError("bench overlap: expected at least two ranks, such as mpirun -np 2 reprise bench overlap CONFIG");
  }
  for (const std::string& policy : options.policies) {
    try {
      with_policy(config, policy, 1);
    } catch (const ConfigError& error) {
      throw UsageError(fmt::format("--policies: '{}': {}", policy, error.what()));
    }
  }
  const std::unique_ptr<Communicator> host = connect_ranks();
  constexpr double kPatience = 10;
  const double limit = kPatience * config.distributed.deadline_seconds;
  host->set_wait_limit(limit, "bench overlap");
  const DeviceChoice device = choose_device(config, *host);
  const std::unique_ptr<Communicator> between = connect_device(config, *host, device.device, limit);
  Communicator& communicator = between ? *between : *host;
  communicator.set_wait_limit(limit, "bench overlap");
  try {
    if (config.micro_sequences == kAuto) throw wrong_value("batch.micro_sequences", "the number to measure", "auto");
    if (config.precision.reduce != torch::kFloat32) {
      throw wrong_value("precision.reduce", "fp32, for every policy's copy would count in the peaks", "bf16", "fp32");
    }
    const std::vector<OverlapRow> rows = measure_overlap(config, device, communicator, setting);
    if (communicator.rank() != 0) return kDone;
    print_rows(options, rows);
    draw(options, rows);
    return kDone;
  } catch (const InvalidSetting& error) {
    throw at_setting(config, error);
  }
}

}  // namespace

Command add_bench_overlap(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand("overlap", "How much of the communication hides behind the backward");
  const auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config, "Configuration (YAML)")->required();
  command->add_option("OVERRIDES", options->overrides, "Settings: key.sub=value")->type_name("KEY=VALUE");
  command->add_option("--policies", options->policies, "As of `plan --policy`, or 'budget, no wire'; separated by ;")
      ->delimiter(';')
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--memory", options->memory, "Of policy budget; default: 35 % of the activation bytes of none");
  command->add_option("--line-rate", options->line, "Bytes a second of the bound's wire; default: measured");
  command->add_option("--rounds", options->rounds, "Of all policies in turn")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--timelines", options->timelines, "Folder for SVGs of the simulated and the measured step");
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer(
      "Each policy's step is measured with communication off, overlapped and serial, and its buckets summed alone, in\n"
      "turn. Exposed: (overlap - compute) / alone. Bound: compute up to each bucket's last stage, then the wire at "
      "line\n"
      "rate, which costs no computing.\n\n"
      "Example:\n  mpirun -np 2 --bind-to none reprise bench overlap configs/gpt2_124m.yaml --timelines drawings");
  return {command, [options] { return bench_overlap(*options); }};
}

}  // namespace reprise
