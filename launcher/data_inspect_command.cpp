#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/commands.h"
#include "launcher/evaluator.h"
#include "launcher/exit_codes.h"
#include "training/dataset_info.h"
#include "training/shard_file.h"
#include "training/token_data.h"
#include "training/tokenizer.h"

namespace reprise {

namespace {

constexpr size_t kExcerptTokens = 240;

struct Options {
  std::string directory;
  bool json = false;
};

struct SplitFacts {
  std::string name;
  std::vector<std::pair<std::string, int64_t>> shards;  // path, tokens
  int64_t tokens = 0;
  std::string excerpt;
};

std::string excerpt_of(const ShardFile& shard, const Tokenizer& tokenizer) {
  const auto head = shard.tokens().first(std::min(kExcerptTokens, shard.tokens().size()));
  return tokenizer.decode({head.begin(), head.end()});
}

// Reads every token of the split.
SplitFacts inspect_split(const std::string& directory, const std::string& split, const DatasetInfo& info) {
  const TokenShards whole(directory, split);  // checks the split as training would
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(info.tokenizer);
  SplitFacts facts;
  facts.name = split;
  facts.tokens = whole.tokens();
  for (const std::string& path : shard_paths(directory, split)) {
    const ShardFile shard(path);
    require_tokens_below(shard, info.vocabulary);
    if (facts.shards.empty()) facts.excerpt = excerpt_of(shard, *tokenizer);
    facts.shards.push_back({path, static_cast<int64_t>(shard.tokens().size())});
  }
  return facts;
}

void print_table(const DatasetInfo& info, const std::vector<SplitFacts>& splits) {
  fmt::print("tokenizer {}, vocabulary {}, {} documents; every token is below the vocabulary\n", info.tokenizer,
             info.vocabulary, info.documents);
  for (const SplitFacts& split : splits) {
    fmt::print("\n{}: {} tokens in {} shards\n", split.name, split.tokens, split.shards.size());
    for (const auto& [path, tokens] : split.shards) fmt::print("  {:>14} tokens  {}\n", tokens, path);
    fmt::print("  begins: {}\n",
               nlohmann::json(split.excerpt).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
}

nlohmann::ordered_json json_of(const DatasetInfo& info, const std::vector<SplitFacts>& splits) {
  nlohmann::ordered_json json{
      {"tokenizer", info.tokenizer}, {"vocabulary", info.vocabulary}, {"documents", info.documents}};
  for (const SplitFacts& split : splits) {
    nlohmann::ordered_json shards = nlohmann::ordered_json::array();
    for (const auto& [path, tokens] : split.shards) shards.push_back({{"path", path}, {"tokens", tokens}});
    json[split.name] = {{"tokens", split.tokens}, {"shards", shards}, {"excerpt", split.excerpt}};
  }
  return json;
}

int inspect(const Options& options) {
  const DatasetInfo info = read_dataset_info(options.directory);
  std::vector<SplitFacts> splits;
  for (const char* split : {"train", "validation"}) splits.push_back(inspect_split(options.directory, split, info));
  print_table(info, splits);
  if (options.json) {
    fmt::print("{}\n", json_of(info, splits).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  return kDone;
}

}  // namespace

Command add_data_inspect(CLI::App& data) {
  CLI::App* command = data.add_subcommand("inspect", "Counts, shards and the first text; checks every token");
  const auto options = std::make_shared<Options>();
  command->add_option("DIRECTORY", options->directory, "Folder of `reprise data prepare`")->required();
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  reprise data inspect data/books --json");
  return {command, [options] { return inspect(*options); }};
}

}  // namespace reprise
