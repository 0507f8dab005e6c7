#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string_view>

#include "launcher/build_facts.h"
#include "launcher/exit_codes.h"
#include "launcher/program.h"

namespace {

using namespace reprise;

// `reprise bench` is a program of its own, so that what measures is no part of what trains.
int start_bench(char** arguments) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("reprise-bench");
  execv(program.c_str(), arguments);
  fmt::print(stderr, "reprise: expected the program reprise-bench beside this one, got no {}\n", program);
  return kInternal;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "bench") return start_bench(argv + 1);

  CLI::App app(
      "Trains transformers data-parallel, forgets activations on purpose and recomputes them: same bits, less memory.",
      "reprise");
  app.set_version_flag("--version", fmt::format("reprise {} ({}, {})", kVersion, kCommit, kBuildType));
  app.footer("Example:\n  reprise train configs/quickstart.yaml\n\n" + exit_codes_help());
  const auto group = [&app](const char* name, const char* meaning, const char* example) {
    CLI::App* subcommands = app.add_subcommand(name, meaning);
    subcommands->require_subcommand(1);
    subcommands->footer(fmt::format("Example:\n  {}", example));
    return subcommands;
  };
  CLI::App& data = *group("data", "Make and look at token shards", "reprise data prepare --out data/mine book.txt");
  app.add_subcommand("bench", "Measure this machine and this network; see reprise bench --help");
  CLI::App& trace = *group("trace", "Timelines of a run", "reprise trace merge runs/quickstart/trace/rank-*.json");
  return run_program(app,
                     {add_train(app), add_plan(app), add_profile(app), add_data_prepare(data), add_data_inspect(data),
                      add_sample(app), add_eval(app), add_import(app), add_export(app), add_watch(app), add_report(app),
                      add_doctor(app), add_trace_merge(trace)},
                     argc, argv);
}
