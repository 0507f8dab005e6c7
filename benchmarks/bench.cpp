// The program reprise-bench, which `reprise bench` starts: the experiments that a user runs, one file a command.
#include <CLI/CLI.hpp>

#include "benchmarks/bench_commands.h"

int main(int argc, char** argv) {
  using namespace reprise;
  CLI::App bench("Measures this machine, this network, and what recomputation costs on them.", "reprise bench");
  bench.footer("Example:\n  mpirun -np 2 reprise bench allreduce");
  return run_program(bench, {add_bench_allreduce(bench), add_bench_overlap(bench)}, argc, argv);
}
