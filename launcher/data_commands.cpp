#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "monitoring/format.h"
#include "monitoring/json_text.h"
#include "training/prepare.h"
#include "training/token_data.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

struct PrepareOptions {
  std::vector<std::string> files;
  std::string directory, tokenizer = "bytes";
  bool json = false;
};

struct InspectOptions {
  std::string directory;
  bool json = false;
};

int prepare(const PrepareOptions& options) {
  // Percent done, in place on a terminal; in tenths otherwise.
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  const auto show = [is_terminal, shown = -1](int64_t done_bytes, int64_t total_bytes) mutable {
    const int percent = total_bytes > 0 ? static_cast<int>(100 * done_bytes / total_bytes) : 100;
    if (percent < shown + (is_terminal ? 1 : 10)) return;
    shown = percent;
    fmt::print(stderr, "{}preparing: {:3} % of {}{}", is_terminal ? "\r" : "", percent, format_bytes(total_bytes),
               is_terminal && percent < 100 ? "" : "\n");
    std::fflush(stderr);
  };
  const DatasetInfo info = prepare_data(options.files, options.directory, options.tokenizer, show);
  fmt::print("{}: {} documents, {} training tokens, {} validation tokens, tokenizer {}, vocabulary {}\n",
             options.directory, info.documents, info.train_tokens, info.validation_tokens, info.tokenizer,
             info.vocabulary);
  if (options.json) {
    fmt::print("{}\n", JSON_FIELDS(options.directory, info.tokenizer, info.vocabulary, info.documents,
                                   info.train_tokens, info.validation_tokens)
                           .dump());
  }
  return kDone;
}

// Reads every token of the split.
nlohmann::ordered_json inspect_split(const std::string& directory, const std::string& name, const DatasetInfo& info) {
  constexpr size_t kExcerptTokens = 240;
  const TokenShards split(directory, name);
  nlohmann::ordered_json shards = nlohmann::ordered_json::array();
  for (const ShardFile& shard : split.shards()) {
    shards.push_back({{"path", shard.path()}, {"tokens", shard.tokens_below(info.vocabulary).size()}});
  }
  const std::span<const uint16_t> text = split.shards().front().tokens();
  const auto head = text.first(std::min(kExcerptTokens, text.size()));
  return {{"tokens", split.tokens()},
          {"shards", shards},
          {"excerpt", Tokenizer(info.tokenizer).decode({head.begin(), head.end()})}};
}

int inspect(const InspectOptions& options) {
  const DatasetInfo info = read_dataset_info(options.directory);
  nlohmann::ordered_json facts = JSON_FIELDS(info.tokenizer, info.vocabulary, info.documents);
  const auto splits = {"train", "validation"};
  for (const char* split : splits) facts[split] = inspect_split(options.directory, split, info);

  fmt::print("tokenizer {}, vocabulary {}, {} documents; every token is below the vocabulary\n", info.tokenizer,
             info.vocabulary, info.documents);
  for (const char* name : splits) {
    const nlohmann::ordered_json& split = facts[name];
    fmt::print("\n{}: {} tokens in {} shards\n", name, split["tokens"].get<int64_t>(), split["shards"].size());
    for (const auto& shard : split["shards"]) {
      fmt::print("  {:>14} tokens  {}\n", shard["tokens"].get<int64_t>(), shard["path"].get<std::string>());
    }
    fmt::print("  begins: {}\n", json_text(split["excerpt"]));
  }
  if (options.json) fmt::print("{}\n", json_text(facts));
  return kDone;
}

}  // namespace

Command add_data_prepare(CLI::App& data) {
  CLI::App* command = data.add_subcommand("prepare", "Tokenize text files into shards; a twentieth is held out");
  const auto options = std::make_shared<PrepareOptions>();
  command->add_option("FILE", options->files, "Text files, or *.jsonl with a \"text\" on each line")->required();
  command->add_option("--out", options->directory, "Folder for the shards")->required();
  command->add_option("--tokenizer", options->tokenizer, "bytes")->capture_default_str();
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  reprise data prepare --out data/books book1.txt book2.txt");
  return {command, [options] { return prepare(*options); }};
}

Command add_data_inspect(CLI::App& data) {
  CLI::App* command = data.add_subcommand("inspect", "Counts, shards and the first text; checks every token");
  const auto options = std::make_shared<InspectOptions>();
  command->add_option("DIRECTORY", options->directory, "Folder of `reprise data prepare`")->required();
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  reprise data inspect data/books --json");
  return {command, [options] { return inspect(*options); }};
}

}  // namespace reprise
