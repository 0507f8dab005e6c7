#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/sampler.h"
#include "launcher/saved_run.h"
#include "training/tokenizer.h"

namespace reprise {

namespace {

struct Options {
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

int sample(const Options& options) {
  if (!(options.temperature >= 0)) {
    throw UsageError(fmt::format("--temperature: expected 0 or more, got {}", options.temperature));
  }
  const SavedRun run = load_run(options.run);
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(run.tokenizer);
  Sampler sampler(*run.model, tokens_of(options.prompt, *tokenizer), options.temperature, options.seed);
  stream(options.prompt);
  for (int64_t i = 0; i < options.tokens; ++i) {
    const int64_t token = sampler.next();
    stream(token == tokenizer->end_of_document() ? "\n\n" : tokenizer->decode({token}));
  }
  stream("\n");
  return kDone;
}

}  // namespace

Command add_sample(CLI::App& app) {
  CLI::App* command = app.add_subcommand("sample", "Write text with a trained model; the same text for the same seed");
  const auto options = std::make_shared<Options>();
  command->add_option("RUN", options->run, "Run directory or snapshot")->required();
  command->add_option("--prompt", options->prompt, "Text to go on from");
  command->add_option("--tokens", options->tokens, "How many")->capture_default_str()->check(CLI::NonNegativeNumber);
  command->add_option("--temperature", options->temperature, "0: the likeliest token")->capture_default_str();
  command->add_option("--seed", options->seed, "Of the draws")->capture_default_str();
  command->footer("Example:\n  reprise sample runs/quickstart --prompt 'def main' --tokens 400 --seed 7");
  return {command, [options] { return sample(*options); }};
}

}  // namespace reprise
