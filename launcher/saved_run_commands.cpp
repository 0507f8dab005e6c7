#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>

#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/saved_run.h"
#include "monitoring/json_text.h"
#include "training/errors.h"
#include "training/token_data.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

struct EvalOptions {
  std::string run, data;
  int64_t context = 0;  // 0: the model's
  bool json = false;
};

int evaluate_run(const EvalOptions& options) {
  SavedRun run = load_run(options.run);
  const int64_t longest = run.config.model.context;
  const int64_t context = options.context == 0 ? longest : options.context;
  if (context < 1 || context > longest) {
    throw UsageError(fmt::format("--context: expected 1 … {}, the model's context, got {}", longest, context));
  }
  const EvaluationTotals totals = evaluate(run, TokenShards(options.data, "validation"), context);
  if (totals.tokens == 0) throw DataError(fmt::format("{}: expected at least one target, got none", options.data));

  const double loss = totals.loss / static_cast<double>(totals.tokens);
  const double perplexity = std::exp(loss), bits_per_byte = totals.bits_per_byte();
  fmt::print("loss {:.4f} nats per token, perplexity {:.3f}, {:.4f} bits per byte, over {} tokens in windows of {}\n",
             loss, perplexity, bits_per_byte, totals.tokens, context);
  if (options.json) {
    fmt::print("{}\n", JSON_FIELDS(loss, perplexity, bits_per_byte, totals.tokens).dump());
  }
  return kDone;
}

struct SampleOptions {
  std::string run, prompt;
  int64_t tokens = 256;
  double temperature = 0.8;
  uint64_t seed = 1;
};

void stream(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// An empty prompt starts a new document.
std::vector<int64_t> tokens_of(const std::string& prompt, const Tokenizer& tokenizer) {
  if (prompt.empty()) return {tokenizer.end_of_document()};
  const std::vector<uint16_t> tokens = tokenizer.encode(prompt);
  return {tokens.begin(), tokens.end()};
}

int sample(const SampleOptions& options) {
  if (!(options.temperature >= 0)) {
    throw UsageError(fmt::format("--temperature: expected 0 or more, got {}", options.temperature));
  }
  const SavedRun run = load_run(options.run);
  const Tokenizer tokenizer(run.tokenizer);
  Sampler sampler(*run.model, tokens_of(options.prompt, tokenizer), options.temperature, options.seed);
  stream(options.prompt);
  for (int64_t i = 0; i < options.tokens; ++i) {
    const int64_t token = sampler.next();
    stream(token == tokenizer.end_of_document() ? "\n\n" : tokenizer.decode({token}));
  }
  stream("\n");
  return kDone;
}

}  // namespace

Command add_eval(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "Mean loss of a trained model over held-out text");
  const auto options = std::make_shared<EvalOptions>();
  command->add_option("RUN", options->run, "Run directory or snapshot")->required();
  command->add_option("--data", options->data, "Folder with validation_*.bin")->required();
  command->add_option("--context", options->context, "Targets of a window; default: the model's context");
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  reprise eval runs/quickstart --data data/quickstart --json");
  return {command, [options] { return evaluate_run(*options); }};
}

Command add_sample(CLI::App& app) {
  CLI::App* command = app.add_subcommand("sample", "Write text with a trained model; the same text for the same seed");
  const auto options = std::make_shared<SampleOptions>();
  command->add_option("RUN", options->run, "Run directory or snapshot")->required();
  command->add_option("--prompt", options->prompt, "Text to go on from");
  command->add_option("--tokens", options->tokens, "How many")->capture_default_str()->check(CLI::NonNegativeNumber);
  command->add_option("--temperature", options->temperature, "0: the likeliest token")->capture_default_str();
  command->add_option("--seed", options->seed, "Of the draws")->capture_default_str();
  command->footer("Example:\n  reprise sample runs/quickstart --prompt 'def main' --tokens 400 --seed 7");
  return {command, [options] { return sample(*options); }};
}

}  // namespace reprise
