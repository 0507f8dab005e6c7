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

// What main does once its commands are known: parses, runs the chosen one, reports a failure once, and returns the exit
// code. Call it before anything allocates a tensor.
int run_program(CLI::App& app, const std::vector<Command>& commands, int argc, char** argv);

}  // namespace reprise
