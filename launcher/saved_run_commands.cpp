#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "distributed/agreement.h"
#include "launcher/evaluation.h"
#include "launcher/exit_codes.h"
#include "launcher/job.h"
#include "launcher/program.h"
#include "launcher/saved_run.h"
#include "monitoring/json_text.h"
#include "training/errors.h"
#include "training/input_file.h"
#include "training/sampler.h"
#include "training/token_data.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

// Throws UsageError with what an option may be.
template <class Value>
void require(bool is_legal, const char* option, const std::string& expected, Value got) {
  if (!is_legal) throw UsageError(fmt::format("{}: expected {}, got {}", option, expected, got));
}

// Ids mean nothing to a model that learned them from another tokenizer. Throws DataError where both are known.
void require_same_tokenizer(const SavedRun& run, const std::string& data) {
  if (run.tokenizer == "none" || !std::filesystem::exists(data + "/dataset.json")) return;
  const std::string of_data = tokenizer_in(data, read_dataset_info(data).tokenizer);
  const auto bytes_of = [](const std::string& file) { return map_file(file, Access::read_only); };
  const bool are_files = of_data != "bytes" && run.tokenizer != "bytes";
  if (of_data == "none" || of_data == run.tokenizer) return;
  if (are_files && torch::equal(bytes_of(of_data), bytes_of(run.tokenizer))) return;
  throw DataError(
      fmt::format("{}: expected tokens of the run's tokenizer, {}, got those of {}; prepare the text anew "
                  "with: reprise data prepare --tokenizer {}",
                  data, run.tokenizer, of_data, run.tokenizer));
}

struct EvalOptions {
  std::string run, data;
  int64_t context = 0;  // 0: the model's
  bool json = false;
};

int evaluate_run(const EvalOptions& options) {
  const std::unique_ptr<Communicator> ranks = connect_ranks();
  ranks->set_wait_limit(3600, "start");  // for a large run on a slow disk; a rank that dies ends the job by itself
  std::optional<SavedRun> run;
  std::optional<TokenShards> split;
  std::map<std::string, std::string> facts;
  int64_t context = options.context;
  together(*ranks, [&] {
    run.emplace(load_run(options.run, ranks->local_rank()));
    require_same_tokenizer(*run, options.data);
    const ModelConfig& model = run->config.model;
    if (context == 0) context = model.context;
    require(context >= 1 && context <= model.context, "--context",
            fmt::format("1 … {}, the model's context", model.context), context);
    split.emplace(options.data, "validation");
    facts = {{"model", weights_hash(*run->model)},
             {"data", split->describe(/*length=*/2, model.vocabulary)},
             {"--context", std::to_string(context)}};
  });
  require_agreement(*ranks, facts);
  const EvaluationTotals totals = evaluate(*run, *split, context, *ranks);
  if (ranks->rank() > 0) return kDone;

  const double loss = totals.loss / static_cast<double>(totals.tokens);
  const double perplexity = std::exp(loss), bits_per_byte = totals.bits_per_byte();
  fmt::print("loss {:.4f} nats per token, perplexity {:.3f}, {} over {} tokens in windows of {}\n", loss, perplexity,
             totals.bytes == 0 ? "" : fmt::format("{:.4f} bits per byte,", bits_per_byte), totals.tokens, context);
  if (options.json) fmt::print("{}\n", JSON_FIELDS(loss, perplexity, bits_per_byte, totals.tokens).dump());
  return kDone;
}

struct SampleOptions {
  std::string run, prompt;
  int64_t tokens = 256;
  SamplingSetting sampling;
};

void write_out(std::string_view text) {
  fmt::print("{}", text);
  std::fflush(stdout);
}

// An empty prompt starts a new document.
std::vector<int64_t> tokens_of(const std::string& prompt, const Tokenizer& tokenizer) {
  if (prompt.empty()) return {tokenizer.end_of_document()};
  const auto tokens = tokenizer.encode(prompt);
  return {tokens.begin(), tokens.end()};
}

int sample(const SampleOptions& options) {
  const SamplingSetting& sampling = options.sampling;
  require(std::isfinite(sampling.temperature) && sampling.temperature >= 0, "--temperature", "0 or more",
          sampling.temperature);
  require(sampling.top_k >= 0, "--top-k", "0 (all tokens) or more", sampling.top_k);
  require(sampling.top_p > 0 && sampling.top_p <= 1, "--top-p", "a number above 0, at most 1", sampling.top_p);
  require(options.tokens >= 0, "--tokens", "0 or more", options.tokens);
  const SavedRun run = load_run(options.run);
  const Tokenizer tokenizer(run.tokenizer);
  const std::vector<int64_t> prompt = tokens_of(options.prompt, tokenizer);
  if (const int64_t last = *std::max_element(prompt.begin(), prompt.end()); last >= run.config.model.vocabulary) {
    throw DataError(fmt::format("{}: expected tokens below {}, the model's vocabulary, got {} from the tokenizer {}",
                                options.run, run.config.model.vocabulary, last, run.tokenizer));
  }
  if (const int64_t context = run.config.model.context; std::ssize(prompt) > context) {
    fmt::print(stderr, "reprise: the prompt has {} tokens, of which the model sees the last {}, its context\n",
               prompt.size(), context);
  }
  Sampler sampler(*run.model, prompt, sampling, [&](int64_t token) { return tokenizer.knows(token); });
  write_out(options.prompt);
  std::string text;  // not written yet: a token may end inside a character
  for (int64_t i = 0; i < options.tokens; ++i) {
    const int64_t token = sampler.next();
    text += token == tokenizer.end() ? "\n\n" : tokenizer.decode({token});
    const size_t whole = text.size() - unfinished_character_bytes(text);
    write_out(text.substr(0, whole));
    text.erase(0, whole);
  }
  write_out(text + "\n");
  return kDone;
}

}  // namespace

Command add_eval(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "Mean loss of a trained model over held-out text; ranks share it");
  const auto options = std::make_shared<EvalOptions>();
  command->add_option("RUN", options->run, "Run directory or snapshot")->required();
  command->add_option("--data", options->data, "Folder with validation_*.bin")->required();
  command->add_option("--context", options->context, "Targets of a window; default: the model's context");
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  mpirun -np 2 reprise eval runs/quickstart --data data/text --json");
  return {command, [options] { return evaluate_run(*options); }};
}

Command add_sample(CLI::App& app) {
  CLI::App* command = app.add_subcommand("sample", "Write text with a trained model; the same text for the same seed");
  const auto options = std::make_shared<SampleOptions>();
  command->add_option("RUN", options->run, "Run directory or snapshot")->required();
  command->add_option("--prompt", options->prompt, "Text to go on from");
  command->add_option("--tokens", options->tokens, "How many")->capture_default_str();
  SamplingSetting& sampling = options->sampling;
  command->add_option("--temperature", sampling.temperature, "Divides the logits; 0: always the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Only the k likeliest tokens; 0: all")->capture_default_str();
  command->add_option("--top-p", sampling.top_p, "Of these only the likeliest whose probabilities sum to p; 1: all")
      ->capture_default_str();
  command->add_option("--seed", sampling.seed, "Of the draws")->capture_default_str()->check(CLI::NonNegativeNumber);
  command->footer("Example:\n  reprise sample runs/quickstart --prompt 'def main' --tokens 400 --top-p 0.9 --seed 7");
  return {command, [options] { return sample(*options); }};
}

}  // namespace reprise
