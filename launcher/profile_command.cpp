#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/config.h"
#include "launcher/cost_file.h"
#include "launcher/exit_codes.h"
#include "launcher/job.h"
#include "launcher/measured_costs.h"
#include "launcher/program.h"
#include "launcher/spelling.h"
#include "monitoring/format.h"
#include "training/file_system.h"

namespace reprise {
namespace {

struct Options {
  std::string config, out = "costs.json";
  std::vector<std::string> overrides;
  double seconds = 4;
  bool json = false;
};

void print_costs(const CostTable& costs) {
  fmt::print("{:<24} {:>10} {:>10}  {:>10} {:>10} {:>10}   kept bytes by save level\n", "stage", "forward", "backward",
             "all", "lean", "input");
  for (const StageCost& stage : costs.stages) {
    fmt::print("{:<24} {:>10} {:>10}  {:>10} {:>10} {:>10}\n", stage.name, format_seconds(stage.forward_seconds),
               format_seconds(stage.backward_seconds), format_bytes(stage.saves[0].kept_bytes),
               format_bytes(stage.saves[1].kept_bytes), format_bytes(stage.saves[2].kept_bytes));
  }
  fmt::print("base {}, optimizer {}, {} buckets, wire {}\n", format_bytes(costs.base_bytes),
             format_seconds(costs.optimizer_seconds), costs.buckets.size(),
             costs.wire ? fmt::format("{} + {}/s", format_seconds(costs.wire->latency_seconds),
                                      format_bytes(costs.wire->bytes_per_second))
                        : "none");
}

int profile_model(const Options& options) {
  Config config = load_config(options.config, options.overrides);
  const std::unique_ptr<Communicator> host = connect_ranks();
  const bool speaks = host->rank() == 0;
  const DeviceChoice choice = choose_device(config, *host);
  if (speaks) fmt::print(stderr, "measuring the stages of {}\n", options.config);
  CostTable costs;
  try {
    if (config.micro_sequences == kAuto) throw wrong_value("batch.micro_sequences", "the number to measure", "auto");
    costs = measure_costs(config, choice, host->size(), options.seconds);
  } catch (const InvalidSetting& error) {
    throw at_setting(config, error);
  }
  take_worst(*host, costs);
  if (host->size() > 1) {
    constexpr double kPatience = 60;
    const std::unique_ptr<Communicator> between = connect_device(config, *host, choice.device, kPatience);
    costs.wire = fit_wire(between ? *between : *host, choice.device);
  }
  if (!speaks) return kDone;
  const std::string json = format_costs(costs);
  write_durably(options.out, json);
  print_costs(costs);
  fmt::print("written: {}\n", options.out);
  if (options.json) fmt::print("{}\n", nlohmann::ordered_json::parse(json).dump());
  return kDone;
}

}  // namespace

Command add_profile(CLI::App& app) {
  CLI::App* command = app.add_subcommand("profile", "Measure what each stage costs in time and bytes on this machine");
  const auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config, "Configuration (YAML)")->required();
  command->add_option("OVERRIDES", options->overrides, "Settings: key.sub=value")->type_name("KEY=VALUE");
  command->add_option("-o,--out", options->out, "Cost table to write")->capture_default_str();
  command->add_option("--seconds", options->seconds, "To spend on timing")->capture_default_str();
  command->add_flag("--json", options->json, "The table as the last line too");
  command->footer(
      "Example:\n  reprise profile configs/quickstart.yaml -o costs.json\n  mpirun -np 2 reprise profile "
      "configs/quickstart.yaml -o costs.json   # measures the wire too");
  return {command, [options] { return profile_model(*options); }};
}

}  // namespace reprise
