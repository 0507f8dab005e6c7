#include <fmt/format.h>
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "benchmarks/bench_commands.h"
#include "benchmarks/rehearsal.h"
#include "checkpointing/step_record.h"
#include "distributed/agreement.h"
#include "launcher/exit_codes.h"
#include "launcher/job.h"
#include "launcher/units.h"
#include "monitoring/format.h"

namespace reprise {

namespace {

struct Options {
  std::string bytes;
  bool json = false;
};

// Definitions as in nccl-tests: algorithm bandwidth is bytes ÷ seconds, bus bandwidth that × 2 (n - 1) / n.
struct Row {
  int64_t bytes = 0;
  double seconds = 0, low = 0, high = 0;  // median and quartiles of the slowest rank's times
  double core_share = 0;                  // of a core, by every thread of this rank but the one that waits
};

// The slowest rank's seconds of one sum.
double time_sum(Communicator& communicator, const torch::Tensor& flat) {
  communicator.barrier();
  const double start = now_seconds();
  communicator.start_sum(flat)->wait();
  return largest_figures(communicator, {now_seconds() - start})[0];
}

Row measure(Communicator& communicator, int64_t bytes) {
  constexpr double kSeconds = 2;
  const torch::Tensor flat = torch::zeros({std::max<int64_t>(1, bytes / static_cast<int64_t>(sizeof(float)))});
  const double first = time_sum(communicator, flat);  // warms up, and says how many there is time for
  const auto rounds = static_cast<size_t>(std::clamp(kSeconds / first, 5.0, 50.0));
  std::vector<double> seconds;
  const double started = now_seconds(), started_cpu = other_threads_seconds();
  while (seconds.size() < rounds) seconds.push_back(time_sum(communicator, flat));
  Row row{.bytes = static_cast<int64_t>(flat.nbytes())};
  row.core_share = (other_threads_seconds() - started_cpu) / (now_seconds() - started);
  std::sort(seconds.begin(), seconds.end());
  row.seconds = seconds[rounds / 2];
  row.low = seconds[rounds / 4];
  row.high = seconds[rounds * 3 / 4];
  return row;
}

std::vector<int64_t> sizes(const Options& options) {
  if (!options.bytes.empty()) {
    const auto bytes = parse_bytes(options.bytes);
    if (!bytes || *bytes < 4)
      throw UsageError(fmt::format("--bytes: expected a size such as 4MiB, got {}", options.bytes));
    return {*bytes};
  }
  std::vector<int64_t> all;
  for (int64_t bytes = 64 << 10; bytes <= 256 << 20; bytes *= 4) all.push_back(bytes);
  return all;
}

int bench_allreduce(const Options& options) {
  const std::vector<int64_t> all = sizes(options);
  if (job_from_environment().ranks < 2) {
    throw UsageError("bench allreduce: expected at least two ranks, such as mpirun -np 2 reprise bench allreduce");
  }
  const std::unique_ptr<Communicator> communicator = connect_ranks();
  constexpr double kPatience = 120;
  communicator->set_wait_limit(kPatience, "bench allreduce");
  const bool speaks = communicator->rank() == 0;
  const double ranks = communicator->size(), bus_factor = 2 * (ranks - 1) / ranks;
  if (speaks)
    fmt::print("{:>11} {:>11} {:>23} {:>13} {:>13} {:>7}\n", "bytes", "median", "quartiles", "algorithm", "bus",
               "core");
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const int64_t bytes : all) {
    const Row row = measure(*communicator, bytes);
    if (!speaks) continue;
    const double algorithm = static_cast<double>(row.bytes) / row.seconds, bus = algorithm * bus_factor;
    fmt::print("{:>11} {:>11} {:>11} {:>11} {:>11}/s {:>11}/s {:>5.0f} %\n",
               format_bytes(static_cast<uint64_t>(row.bytes)), format_seconds(row.seconds), format_seconds(row.low),
               format_seconds(row.high), format_bytes(static_cast<uint64_t>(algorithm)),
               format_bytes(static_cast<uint64_t>(bus)), 100 * row.core_share);
    std::fflush(stdout);
    rows.push_back({{"bytes", row.bytes},
                    {"seconds", row.seconds},
                    {"seconds_quartiles", {row.low, row.high}},
                    {"algorithm_bytes_per_second", algorithm},
                    {"bus_bytes_per_second", bus},
                    {"core_share", row.core_share}});
  }
  if (speaks && options.json)
    fmt::print("{}\n", nlohmann::ordered_json{{"ranks", communicator->size()}, {"rows", rows}}.dump());
  return kDone;
}

}  // namespace

Command add_bench_allreduce(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand("allreduce", "How fast the ranks of this job sum a tensor");
  const auto options = std::make_shared<Options>();
  command->add_option("--bytes", options->bytes, "One size such as 4MiB; default: 64 KiB to 256 MiB");
  command->add_flag("--json", options->json, "One JSON document as the last line");
  command->footer("Example:\n  mpirun -np 2 --bind-to none reprise bench allreduce");
  return {command, [options] { return bench_allreduce(*options); }};
}

}  // namespace reprise
