#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "launcher/commands.h"
#include "launcher/evaluator.h"
#include "launcher/exit_codes.h"
#include "launcher/saved_run.h"
#include "training/errors.h"
#include "training/shard_file.h"
#include "training/token_data.h"

namespace reprise {

namespace {

struct Options {
  std::string run, data;
  int64_t context = 0;  // 0: the model's
  bool json = false;
};

int evaluate(const Options& options) {
  SavedRun run = load_run(options.run);
  const int64_t longest = run.config.model.context;
  const int64_t context = options.context == 0 ? longest : options.context;
  if (context < 1 || context > longest) {
    throw UsageError(fmt::format("--context: expected 1 … {}, the model's context, got {}", longest, context));
  }
  const TokenShards whole(options.data, "validation");  // checks the split as training would
  Evaluator evaluator(run, context);
  for (const std::string& path : shard_paths(options.data, "validation")) evaluator.add(ShardFile(path));
  const EvaluationTotals& totals = evaluator.totals();
  if (totals.tokens == 0) throw DataError(fmt::format("{}: expected at least one target, got none", options.data));

  const double loss = totals.loss / static_cast<double>(totals.tokens);
  const double bits_per_byte = totals.bits_per_byte();
  fmt::print("loss {:.4f} nats per token, perplexity {:.3f}, {:.4f} bits per byte, over {} tokens in windows of {}\n",
             loss, std::exp(loss), bits_per_byte, totals.tokens, context);
  if (options.json) {
    const nlohmann::ordered_json json{
        {"loss", loss}, {"perplexity", std::exp(loss)}, {"bits_per_byte", bits_per_byte}, {"tokens", totals.tokens}};
    fmt::print("{}\n", json.dump());
  }
  return kDone;
}

}  // namespace

Command add_eval(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "Mean loss of a trained model over held-out text");
  const auto options = std::make_shared<Options>();
  command->add_option("RUN", options->run, "Run directory or snapshot")->required();
  command->add_option("--data", options->data, "Folder with validation_*.bin")->required();
  command->add_option("--context", options->context, "Targets of a window; default: the model's context");
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  reprise eval runs/quickstart --data data/quickstart --json");
  return {command, [options] { return evaluate(*options); }};
}

}  // namespace reprise
