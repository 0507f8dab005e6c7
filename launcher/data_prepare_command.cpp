#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "monitoring/format.h"
#include "training/prepare.h"

namespace reprise {

namespace {

struct Options {
  std::vector<std::string> files;
  std::string directory, tokenizer = "bytes";
  bool json = false;
};

// Percent done, in place on a terminal; in tenths otherwise.
class ProgressLine {
 public:
  void show(int64_t done_bytes, int64_t total_bytes) {
    const int percent = total_bytes > 0 ? static_cast<int>(100 * done_bytes / total_bytes) : 100;
    if (percent < shown_ + (is_terminal_ ? 1 : 10)) return;
    shown_ = percent;
    fmt::print(stderr, "{}preparing: {:3} % of {}{}", is_terminal_ ? "\r" : "", percent,
               format_bytes(static_cast<uint64_t>(total_bytes)), is_terminal_ && percent < 100 ? "" : "\n");
    std::fflush(stderr);
  }

 private:
  const bool is_terminal_ = isatty(STDERR_FILENO) == 1;
  int shown_ = -1;
};

int prepare(const Options& options) {
  ProgressLine line;
  const auto progress = [&line](int64_t done_bytes, int64_t total_bytes) { line.show(done_bytes, total_bytes); };
  const DatasetInfo info = prepare_data(options.files, options.directory, options.tokenizer, progress);
  fmt::print("{}: {} documents, {} training tokens, {} validation tokens, tokenizer {}, vocabulary {}\n",
             options.directory, info.documents, info.train_tokens, info.validation_tokens, info.tokenizer,
             info.vocabulary);
  if (options.json) {
    const nlohmann::ordered_json json{
        {"directory", options.directory},    {"tokenizer", info.tokenizer},
        {"vocabulary", info.vocabulary},     {"documents", info.documents},
        {"train_tokens", info.train_tokens}, {"validation_tokens", info.validation_tokens}};
    fmt::print("{}\n", json.dump());
  }
  return kDone;
}

}  // namespace

Command add_data_prepare(CLI::App& data) {
  CLI::App* command = data.add_subcommand("prepare", "Tokenize text files into shards; a twentieth is held out");
  const auto options = std::make_shared<Options>();
  command->add_option("FILE", options->files, "Text files, or *.jsonl with a \"text\" on each line")->required();
  command->add_option("--out", options->directory, "Folder for the shards")->required();
  command->add_option("--tokenizer", options->tokenizer, "bytes")->capture_default_str();
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  reprise data prepare --out data/books book1.txt book2.txt");
  return {command, [options] { return prepare(*options); }};
}

}  // namespace reprise
