// The experiments as subcommands, and `all` of them with a report.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "benchmarks/experiments.h"
#include "benchmarks/report.h"
#include "launcher/exit_codes.h"
#include "monitoring/format.h"

namespace reprise::bench {
namespace {

void add_options(CLI::App& command, Options& options) {
  command.add_option("settings", options.overrides,
                     "key.sub=value, such as model.layers=4 or batch.global_sequences=2");
  command.add_option("--scale", options.scale, "cpu: within a minute on two cores; gpu: the original size, on a GPU")
      ->check(CLI::IsMember({"cpu", "gpu"}))
      ->capture_default_str();
  command.add_option("--out", options.out, "the folder for result.json and the plot")->capture_default_str();
  command.add_option("--rounds", options.rounds, "measured rounds (steps); by default the experiment's own number")
      ->check(CLI::Range(1, 10000));
}

Command add_experiment(CLI::App& bench, const Experiment& experiment) {
  CLI::App* command = bench.add_subcommand(experiment.name, experiment.title);
  const auto options = std::make_shared<Options>();
  options->out = "runs/bench/" + experiment.name;
  add_options(*command, *options);
  if (experiment.name == "adaptive") {
    command->add_option("--from", options->file, "a result.json of `bench selective`: its greedy choice of layers");
    command->add_option("--sets", options->sets, "random sets of layers")->check(CLI::Range(0, 10000));
  }
  if (experiment.name == "playbook") {
    command->add_option("--config", options->file, "the configuration that the recommendation is for");
  }
  command->footer(fmt::format("{}\n\nExample:\n  reprise bench {} --out runs/bench/{}", experiment.question,
                              experiment.name, experiment.name));
  return {command, [options, experiment] {
            carry_out(experiment, *options);
            return static_cast<int>(kDone);
          }};
}

int run_all(const Options& options) {
  std::vector<Chapter> chapters;
  const double started = now_seconds();
  for (const Experiment& experiment : experiments()) {
    print_progress(fmt::format("experiment {} of {}: {}", chapters.size() + 1, experiments().size(), experiment.name));
    Options own = options;
    own.out = options.out + "/" + experiment.name;
    // What selective has just chosen is what adaptive recomputes.
    if (experiment.name == "adaptive") own.file = options.out + "/selective/result.json";
    chapters.push_back({experiment, carry_out(experiment, own)});
  }
  std::string command = fmt::format("OMP_NUM_THREADS={} reprise bench all --scale {} --out {}", at::get_num_threads(),
                                    options.scale, options.out);
  if (!options.overrides.empty()) command += fmt::format(" {}", fmt::join(options.overrides, " "));
  write_report(options.out, chapters, command);
  fmt::print("{} experiments in {}: {}/index.html\n", chapters.size(), format_seconds(now_seconds() - started),
             options.out);
  return kDone;
}

Command add_all(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand("all", "Every experiment, and one page with all of them");
  const auto options = std::make_shared<Options>();
  options->out = "runs/bench";
  add_options(*command, *options);
  command->footer("Example:\n  reprise bench all --scale cpu --out report");
  return {command, [options] { return run_all(*options); }};
}

}  // namespace

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all = {
      {"activations", "Where the memory of a forward goes",
       "What does each layer keep for its backward, and which tensors hold it?", run_activations},
      {"memory", "What recomputation saves", "How high is the peak when segments of layers are recomputed?",
       run_memory},
      {"speed", "What recomputation costs", "How much longer does a training step take?", run_speed},
      {"selective", "Which layers to recompute", "Does it matter which layers are chosen for a given saving?",
       run_selective},
      {"adaptive", "Any set of layers, the same bits", "Does the choice of layers change the gradients?", run_adaptive},
      {"production", "A training run with a quarter recomputed",
       "What is left of costs and savings in the trainer's own step, on text?", run_production},
      {"paradox", "Slower steps, faster training?", "Under one memory cap, does a larger batch win back the time?",
       run_paradox},
      {"playbook", "When checkpointing pays", "For which depths and lengths is it worth its time?", run_playbook},
  };
  return all;
}

std::vector<Command> add_experiments(CLI::App& bench) {
  std::vector<Command> commands;
  for (const Experiment& experiment : experiments()) commands.push_back(add_experiment(bench, experiment));
  commands.push_back(add_all(bench));
  return commands;
}

}  // namespace reprise::bench
