#pragma once

#include <functional>
#include <vector>

namespace CLI {
class App;
}

namespace reprise {

// A subcommand: what CLI11 knows of it, and what main runs once it was parsed. run() returns the exit code and throws
// what describe_failure() understands. Every command's --help ends in an example.
struct Command {
  CLI::App* app = nullptr;
  std::function<int()> run;
};

// The commands of `reprise`; `reprise bench` has its own.
Command add_train(CLI::App& app);
Command add_plan(CLI::App& app);
Command add_profile(CLI::App& app);
Command add_data_prepare(CLI::App& data);
Command add_data_inspect(CLI::App& data);
Command add_sample(CLI::App& app);
Command add_eval(CLI::App& app);
Command add_import(CLI::App& app);
Command add_export(CLI::App& app);
Command add_doctor(CLI::App& app);
Command add_watch(CLI::App& app);
Command add_report(CLI::App& app);
Command add_trace_merge(CLI::App& trace);

// What main does once its commands are known: parses, runs the chosen one, reports a failure once, and returns the exit
// code. Call it before anything allocates a tensor.
int run_program(CLI::App& app, const std::vector<Command>& commands, int argc, char** argv);

}  // namespace reprise
