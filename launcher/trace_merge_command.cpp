#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "launcher/exit_codes.h"
#include "launcher/program.h"
#include "monitoring/trace.h"

namespace reprise {
namespace {

struct Options {
  std::vector<std::string> inputs;
  std::string out = "trace.json";
};

int merge(const Options& options) {
  const auto folder_of = [](const std::filesystem::path& path) {
    return absolute(path).lexically_normal().parent_path();
  };
  for (const std::string& path : options.inputs) {
    if (folder_of(path) == folder_of(options.inputs[0])) continue;
    throw UsageError(fmt::format("trace merge: expected the files of one start, in one folder, got {} and {}",
                                 options.inputs[0], path));
  }
  merge_traces(options.inputs, options.out);
  fmt::print("{} files joined in {}; open it in https://ui.perfetto.dev or chrome://tracing\n", options.inputs.size(),
             options.out);
  return kDone;
}

}  // namespace

Command add_trace_merge(CLI::App& trace) {
  CLI::App* command = trace.add_subcommand("merge", "Join the ranks' traces of a run into one");
  const auto options = std::make_shared<Options>();
  command->add_option("FILES", options->inputs, "RUN/trace/rank-*.json")->required()->check(CLI::ExistingFile);
  command->add_option("-o,--out", options->out, "The joined trace")->capture_default_str();
  command->footer("Example:\n  reprise trace merge runs/quickstart/trace/rank-*.json -o trace.json");
  return {command, [options] { return merge(*options); }};
}

}  // namespace reprise
