#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "checkpointing/memory_meter.h"
#include "distributed/mpi_communicator.h"
#include "launcher/build_facts.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/job.h"

namespace {

using namespace reprise;

// Most failures are found by every rank at nearly the same time. Rank 0 speaks at once, and its exit ends the job; the
// others speak only when it turns out that nobody before them did.
int fail(const Job& job, const Failure& failure) {
  if (job.rank > 0) std::this_thread::sleep_for(std::chrono::milliseconds(2000 + std::min(100 * job.rank, 3000)));
  if (job.rank == 0 || !failure.is_shared) fmt::print(stderr, "reprise: {}\n", failure.message);
  std::fflush(nullptr);
  // Other ranks may wait for this one.
  if (job.ranks > 1 && !failure.is_shared) abort_mpi_job(failure.code);
  return failure.code;
}

int run(CLI::App& app, const std::vector<Command>& commands, const Job& job, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    if (job.rank == 0) app.exit(help);
    return kDone;
  } catch (const CLI::ParseError& error) {
    return fail(job, {kUsage, fmt::format("{}; see reprise --help", error.what())});
  }
  try {
    if (const std::string refusal = refusal_of_root(job); !refusal.empty()) return fail(job, {kUsage, refusal});
    const auto is_chosen = [](const Command& command) { return command.app->parsed(); };
    return std::find_if(commands.begin(), commands.end(), is_chosen)->run();
  } catch (...) {
    return fail(job, describe_failure(std::current_exception()));
  }
}

}  // namespace

int main(int argc, char** argv) {
  // Bits of matrix products must not depend on the number of threads; the library reads this before its first product.
  setenv("MKL_CBWR", "AUTO,STRICT", 1);
  MemoryMeter::install();

  CLI::App app(
      "Trains transformers data-parallel, forgets activations on purpose and recomputes them: same bits, less memory.",
      "reprise");
  app.require_subcommand(1);
  app.set_version_flag("--version", fmt::format("reprise {} ({}, {})", kVersion, kCommit, kBuildType));
  app.footer("Example:\n  reprise train configs/quickstart.yaml\n\n" + exit_codes_help());
  const auto group = [&app](const char* name, const char* meaning, const char* example) {
    CLI::App* subcommands = app.add_subcommand(name, meaning);
    subcommands->require_subcommand(1);
    subcommands->footer(fmt::format("Example:\n  {}", example));
    return subcommands;
  };
  CLI::App& data = *group("data", "Make and look at token shards", "reprise data prepare --out data/mine book.txt");
  CLI::App& bench = *group("bench", "Measure this machine and this network", "mpirun -np 2 reprise bench allreduce");
  CLI::App& trace = *group("trace", "Timelines of a run", "reprise trace merge runs/quickstart/trace/rank-*.json");
  const std::vector<Command> commands = {
      add_train(app),        add_plan(app), add_profile(app), add_data_prepare(data),     add_data_inspect(data),
      add_sample(app),       add_eval(app), add_doctor(app),  add_bench_allreduce(bench), add_bench_overlap(bench),
      add_trace_merge(trace)};
  return run(app, commands, job_from_environment(), argc, argv);
}
