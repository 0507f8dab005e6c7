// The program reprise-bench, which `reprise bench` starts: the experiments that a user runs, one file a command.
#include <CLI/CLI.hpp>

#include "benchmarks/bench_commands.h"
#include "benchmarks/experiment.h"

int main(int argc, char** argv) {
  using namespace reprise;
  CLI::App app("Measures this machine, this network, and what recomputation costs on them.", "reprise bench");
  app.footer("Examples:\n  reprise bench all --scale cpu --out report\n  mpirun -np 2 reprise bench allreduce");
  std::vector<Command> commands = bench::add_experiments(app);
  commands.push_back(add_bench_allreduce(app));
  commands.push_back(add_bench_overlap(app));
  return run_program(app, commands, argc, argv);
}
