#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmarks/executed.h"
#include "launcher/config.h"
#include "launcher/program.h"
#include "monitoring/figure.h"

// What the experiments of `reprise bench` share: their options, their model at two scales, and how a finding reaches
// the terminal, result.json, an SVG and the report.
namespace reprise::bench {

// Cells are text; all but a row's first are set flush right.
struct Table {
  std::string title;
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows = {};
};

// What an experiment found.
struct Finding {
  std::string claim;               // what people know
  std::string measured;            // the same quantity as it came out here
  std::vector<std::string> notes;  // what a reader needs for an honest comparison
  std::vector<Table> tables;
  Figure figure;
  Json numbers;  // raw, with units in the names
};

struct Options {
  std::string scale = "cpu", out;
  std::string file;                    // adaptive: the result.json to take layers from; playbook: a configuration
  std::vector<std::string> overrides;  // key.sub=value
  int rounds = 0;                      // measured rounds; 0: the experiment's own number
  int sets = 20;                       // adaptive: random sets of layers

  bool is_gpu() const { return scale == "gpu"; }
  int rounds_or(int own) const { return rounds > 0 ? rounds : own; }
};

struct Experiment {
  std::string name, title, question;
  Finding (*run)(const Options& options);
};

// In the order of the report.
const std::vector<Experiment>& experiments();

// One subcommand each, and `all`.
std::vector<Command> add_experiments(CLI::App& bench);

// Runs it, prints it, and writes DIR/result.json and DIR/NAME.svg into options.out.
Finding carry_out(const Experiment& experiment, const Options& options);

void print_progress(const std::string& text);  // a line on the error output

// Settings of a post-norm model ("width=256"), its batch of so many sequences, and "group=4" and the like.
std::vector<std::string> settings(const std::vector<std::string>& model, int64_t sequences,
                                  const std::string& checkpointing = "");

// The configuration of an experiment: its own `settings`, then those of the command line. Throws ConfigError, also for
// the gpu scale without a GPU.
Config configure(const Options& options, Objective objective, const std::vector<std::string>& settings);

// A configuration with as many of its layers as fit checkpointing.budget (90 % of the memory) with nothing recomputed.
struct Sized {
  Config config;
  CostTable costs;  // of the layers that run
  CostTable whole;  // of all layers asked for, by the same measurement
  std::string note;
};

// Measures the costs, which takes some `seconds`. Throws NothingFits.
Sized fit_layers(const Config& config, double seconds);

// The policies that experiments compare, `none` first: "group" and so on with the configuration's own numbers.
const std::vector<std::string>& compared_policies();

// A policy's plan, such as "group:2"; "budget" and "knapsack" without bytes get `budget_bytes`.
PlannedStep plan_of_policy(const Config& config, const CostTable& costs, const std::string& policy,
                           int64_t budget_bytes = 0);

// A cell for each compared policy; budgets are the peak of policy `group`.
std::vector<Cell> cells_of_policies(Bench& bench, const Config& config, const CostTable& costs);

std::string bytes(int64_t count);        // "25.0 MiB"
std::string in_mib(double count);        // always MiB, two decimals
std::string percent(double share);       // "12.3 %"
std::string milliseconds(double value);  // "12.3", of seconds

// Median and half the distance of the quartiles of a cell's step over the first's in the same round.
struct Ratio {
  double median = 1, half_width = 0;
};
Ratio ratio_to(const Cell& reference, const Cell& cell);

// Bars side by side: series i of n at the names' places.
Series bars(const std::string& name, const std::vector<double>& values, int index, int count);

}  // namespace reprise::bench
