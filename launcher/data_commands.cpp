#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "launcher/exit_codes.h"
#include "launcher/program.h"
#include "monitoring/format.h"
#include "monitoring/json_text.h"
#include "training/errors.h"
#include "training/prepare.h"
#include "training/token_data.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

struct PrepareOptions {
  std::vector<std::string> paths;
  std::string directory, tokenizer = "bytes";
  PrepareSetting setting;
  bool json = false;
};

struct InspectOptions {
  std::string path, tokenizer;
  bool json = false;
};

// A folder stands for the files below it in the order of their paths, without hidden ones.
std::vector<std::string> files_of(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::set<std::string> found;
    std::string last = path;  // where an error comes from
    std::error_code error;
    for (fs::recursive_directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
      last = entry->path().string();
      const bool is_hidden = entry->path().filename().string().starts_with('.');
      if (is_hidden) entry.disable_recursion_pending();
      if (!is_hidden && entry->is_regular_file()) found.insert(last);
    }
    const bool is_folder = fs::is_directory(path);
    if (is_folder && error) throw DataError(fmt::format("{}: cannot be read: {}", last, error.message()));
    if (!is_folder) found = {path};  // or nothing at all, as prepare_data() will say
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

// On a terminal in place, ten times a second; elsewhere a line every five seconds; at the end once more.
ShowProgress progress_line() {
  using Clock = std::chrono::steady_clock;
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  const Clock::time_point start = Clock::now();
  return [=, shown = start](int64_t done_bytes, int64_t total_bytes) mutable {
    const Clock::time_point now = Clock::now();
    const bool is_last = done_bytes >= total_bytes;
    if (!is_last && now - shown < (is_terminal ? std::chrono::milliseconds(100) : std::chrono::seconds(5))) return;
    shown = now;
    const double seconds = std::chrono::duration<double>(now - start).count();
    fmt::print(stderr, "{}preparing: {:3} % of {}, {:.1f} MB/s{}", is_terminal ? "\r" : "",
               100 * done_bytes / std::max<int64_t>(1, total_bytes), format_bytes(static_cast<double>(total_bytes) / 2),
               static_cast<double>(done_bytes) / 2e6 / std::max(seconds, 1e-3), is_terminal && !is_last ? "  " : "\n");
    std::fflush(stderr);
  };
}

int prepare(const PrepareOptions& options) {
  if (fs::exists(options.directory) && !shard_paths(options.directory, "train").empty()) {
    fmt::print(stderr, "reprise: {} holds data already, which this replaces\n", options.directory);
  }
  const DatasetInfo info =
      prepare_data(files_of(options.paths), options.directory, options.tokenizer, progress_line(), options.setting);
  fmt::print("{}: {} documents, {} training tokens, {} validation tokens, tokenizer {}, vocabulary {}\n",
             options.directory, info.documents, info.train_tokens, info.validation_tokens, info.tokenizer,
             info.vocabulary);
  if (options.json) {
    fmt::print("{}\n", JSON_FIELDS(options.directory, info.tokenizer, info.vocabulary, info.documents,
                                   info.train_tokens, info.validation_tokens, info.bytes_per_token)
                           .dump());
  }
  return kDone;
}

// Reads every token.
nlohmann::ordered_json inspect_shards(const std::string& name, std::span<const ShardFile> shards,
                                      const DatasetInfo& info) {
  constexpr int64_t kAtOnce = 1 << 20, kExcerptTokens = 240;
  const int64_t vocabulary = info.vocabulary > 0 ? info.vocabulary : kMostVocabulary;
  std::vector<int64_t> tokens(kAtOnce);
  nlohmann::ordered_json facts = {{"tokens", 0}, {"shards", nlohmann::ordered_json::array()}};
  int64_t all = 0;
  for (const ShardFile& shard : shards) {
    int64_t highest_token = 0;
    for (int64_t first = 0; first < shard.size(); first += kAtOnce) {
      const int64_t count = std::min(kAtOnce, shard.size() - first);
      shard.read(first, count, vocabulary, tokens.data());
      highest_token = std::max(highest_token, *std::max_element(tokens.begin(), tokens.begin() + count));
    }
    all += shard.size();
    facts["shards"].push_back({{"path", shard.path()},
                               {"tokens", shard.size()},
                               {"format", shard.format()},
                               {"highest_token", highest_token}});
  }
  facts["tokens"] = all;
  fmt::print("\n{}: {} tokens in {} shards\n", name, all, shards.size());
  for (const auto& shard : facts["shards"]) {
    fmt::print("  {:>14} tokens up to {}, {}  {}\n", shard["tokens"].dump(), shard["highest_token"].dump(),
               shard["format"].get<std::string>(), shard["path"].get<std::string>());
  }
  if (info.tokenizer == "none") return facts;
  tokens.resize(static_cast<size_t>(std::min(kExcerptTokens, shards[0].size())));
  shards[0].read(0, std::ssize(tokens), vocabulary, tokens.data());
  facts["excerpt"] = Tokenizer(info.tokenizer).decode(tokens);
  fmt::print("  begins: {}\n", json_text(facts["excerpt"]));
  return facts;
}

int inspect(const InspectOptions& options) {
  const bool is_folder = fs::is_directory(options.path);
  const std::string folder = is_folder ? options.path : (fs::path(options.path).parent_path() / ".").string();
  DatasetInfo info = read_dataset_info(folder);
  info.tokenizer = options.tokenizer.empty() ? tokenizer_in(folder, info.tokenizer) : options.tokenizer;
  if (!options.tokenizer.empty()) info.vocabulary = Tokenizer(info.tokenizer).vocabulary();
  fmt::print("tokenizer {}, vocabulary {}, {} documents; {}\n", info.tokenizer, info.vocabulary, info.documents,
             info.vocabulary > 0 ? "every token is checked against it" : "not known; --tokenizer checks and decodes");
  nlohmann::ordered_json facts = JSON_FIELDS(info.tokenizer, info.vocabulary, info.documents);
  if (is_folder) {
    for (const char* split : {"train", "validation"}) {
      facts[split] = inspect_shards(split, TokenShards(folder, split).shards(), info);
    }
  } else {
    const ShardFile shard(options.path);
    facts["file"] = inspect_shards("file", {&shard, 1}, info);
  }
  if (options.json) fmt::print("{}\n", json_text(facts));
  return kDone;
}

}  // namespace

Command add_data_prepare(CLI::App& data) {
  CLI::App* command = data.add_subcommand("prepare", "Tokenize text files into shards; a twentieth is held out");
  const auto options = std::make_shared<PrepareOptions>();
  PrepareSetting& setting = options->setting;
  command->add_option("FILE", options->paths, "Text files, *.jsonl with a document a line, or folders of these")
      ->required();
  command->add_option("--out", options->directory, "Folder for the shards")->required();
  command->add_option("--tokenizer", options->tokenizer, "bytes, or a tokenizer.json (byte-level BPE)")
      ->capture_default_str();
  const std::map<std::string, TextFormat> formats{
      {"auto", TextFormat::by_name}, {"text", TextFormat::plain}, {"jsonl", TextFormat::json_lines}};
  command->add_option("--format", setting.format, "auto (*.jsonl holds JSON lines), text or jsonl")
      ->transform(CLI::CheckedTransformer(formats).description(""))
      ->default_str("auto");
  command->add_option("--field", setting.field, "Of a JSON line: its text")->capture_default_str();
  command->add_option("--shard-tokens", setting.shard_tokens, "Tokens of a shard, at most")
      ->capture_default_str()
      ->check(CLI::Range(2, 2'000'000'000));
  command->add_option("--threads", setting.threads, "That tokenize; 0: one a processor; the result is the same")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer(
      "Example:\n  reprise data prepare --out data/books --tokenizer gpt2/tokenizer.json books/ notes.jsonl");
  return {command, [options] { return prepare(*options); }};
}

Command add_data_inspect(CLI::App& data) {
  CLI::App* command = data.add_subcommand("inspect", "Counts, shards and the first text; checks every token");
  const auto options = std::make_shared<InspectOptions>();
  command
      ->add_option("PATH", options->path, "Folder of `reprise data prepare`, of llm.c's or nanoGPT's shards; a shard")
      ->required();
  command->add_option("--tokenizer", options->tokenizer, "To check and decode with: bytes, or a tokenizer.json");
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  reprise data inspect data/books --json");
  return {command, [options] { return inspect(*options); }};
}

}  // namespace reprise
