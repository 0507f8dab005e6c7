#pragma once

#include <functional>

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

Command add_train(CLI::App& app);
Command add_plan(CLI::App& app);
Command add_profile(CLI::App& app);
Command add_data_prepare(CLI::App& data);
Command add_data_inspect(CLI::App& data);
Command add_sample(CLI::App& app);
Command add_eval(CLI::App& app);
Command add_doctor(CLI::App& app);
Command add_bench_allreduce(CLI::App& bench);
Command add_bench_overlap(CLI::App& bench);
Command add_trace_merge(CLI::App& trace);

}  // namespace reprise
