#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "launcher/config.h"
#include "launcher/exit_codes.h"
#include "launcher/program.h"
#include "launcher/train_run.h"

namespace reprise {
namespace {

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  bool print_config = false;
};

int run_train(const Options& options) {
  StopRequest stop;  // before the configuration, whose check builds a model: LibTorch makes threads for that
  const Config config = load_config(options.config, options.overrides);
  if (!options.print_config) return train(config, stop);
  fmt::print("{}", to_yaml(config, true));
  return kDone;
}

}  // namespace

Command add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Train a model, alone or as a rank of mpirun or srun");
  const auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config, "Configuration (YAML)")->required();
  command->add_option("OVERRIDES", options->overrides, "Settings of this run: key.sub=value")->type_name("KEY=VALUE");
  command->add_flag("--print-config", options->print_config, "Show the resolved settings and where each is from");
  command->footer(
      "Example:\n  mpirun -np 2 reprise train configs/quickstart.yaml run.steps=200 checkpointing.policy=full\n\n"
      "Settings (default, meaning: what is legal):\n" +
      settings_help());
  return {command, [options] { return run_train(*options); }};
}

}  // namespace reprise
