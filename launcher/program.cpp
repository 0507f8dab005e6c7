#include "launcher/program.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "checkpointing/memory_meter.h"
#include "distributed/mpi_communicator.h"
#include "launcher/exit_codes.h"
#include "launcher/job.h"

namespace reprise {
namespace {

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

// CLI11 says of a mistyped command only that one is missing.
std::string usage_message(const CLI::App& app, const char* problem, const std::vector<std::string>& words) {
  const CLI::App* command = &app;
  std::string way = app.get_name();
  for (const std::string& word : words) {
    if (command->get_require_subcommand_max() == 0 || word.starts_with('-')) break;
    const auto found = command->get_subcommands([&](const CLI::App* each) { return each->get_name() == word; });
    if (found.empty()) return fmt::format("there is no command {}; see {} --help", word, way);
    command = found[0];
    way += " " + word;
  }
  return fmt::format("{}; see {} --help", problem, way);
}

}  // namespace

int run_program(CLI::App& app, const std::vector<Command>& commands, int argc, char** argv) {
  // Bits of matrix products must not depend on the number of threads; the library reads this before its first product.
  setenv("MKL_CBWR", "AUTO,STRICT", 1);
  MemoryMeter::install();
  const Job job = job_from_environment();
  if (job.is_launched) prctl(PR_SET_PDEATHSIG, SIGKILL);  // no rank outlives what started it
  app.require_subcommand(1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    if (job.rank == 0) app.exit(help);
    return kDone;
  } catch (const CLI::ParseError& error) {
    return fail(job, {kUsage, usage_message(app, error.what(), {argv + 1, argv + argc})});
  }
  try {
    if (const std::string refusal = refusal_of_root(job); !refusal.empty()) return fail(job, {kUsage, refusal});
    const auto is_chosen = [](const Command& command) { return command.app->parsed(); };
    return std::find_if(commands.begin(), commands.end(), is_chosen)->run();
  } catch (...) {
    return fail(job, describe_failure(std::current_exception()));
  }
}

}  // namespace reprise
