#include "launcher/job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "distributed/agreement.h"
#include "distributed/mpi_communicator.h"
#include "launcher/exit_codes.h"
#include "launcher/units.h"

namespace reprise {
namespace {

std::optional<int> integer_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? parse_integer(text) : std::nullopt;
}

}  // namespace

Job job_from_environment() {
  // SLURM_NTASKS alone says nothing: a batch script sees it too, without being a rank.
  if (const std::optional<int> rank = integer_from("OMPI_COMM_WORLD_RANK")) {
    return {true, *rank, integer_from("OMPI_COMM_WORLD_SIZE").value_or(1)};
  }
  if (const std::optional<int> rank = integer_from("PMIX_RANK")) {
    return {true, *rank, integer_from("SLURM_NTASKS").value_or(1)};
  }
  return {};
}

std::unique_ptr<Communicator> connect_ranks(double patience_seconds) {
  return make_mpi_communicator({patience_seconds, [](const std::string& message) {
                                  const Job job = job_from_environment();
                                  fmt::print(stderr, "reprise: rank {} of {}: {}\n", job.rank, job.ranks, message);
                                  std::fflush(nullptr);
                                  std::_Exit(kPeerLost);
                                }});
}

void together(Communicator& communicator, const std::function<void()>& work) {
  std::string failure;  // "CODE message", empty when all went well
  try {
    work();
  } catch (const PeerLost&) {
    throw;  // nobody is left to agree with
  } catch (...) {
    const Failure found = describe_failure(std::current_exception());
    failure = fmt::format("{} {}", found.code, found.message);
  }
  const std::vector<std::string> failures = gather_texts(communicator, failure);
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const std::string& text = failures[static_cast<size_t>(rank)];
    if (text.empty()) continue;
    const size_t space = text.find(' ');
    const std::string message = text.substr(space + 1);
    throw SharedFailure(std::stoi(text.substr(0, space)),
                        communicator.size() == 1 ? message : communicator.describe(rank) + ": " + message);
  }
}

// The difference on leaving the quickest of some barriers, which the ranks leave within a trip over the wire of each
// other.
double clock_offset(Communicator& communicator, double (*clock)()) {
  constexpr int kRounds = 20;
  double quickest = 0, offset = 0;
  for (int round = 0; round < kRounds; ++round) {
    communicator.barrier();  // all arrive at the next one together
    const double arrived = steady_seconds();
    communicator.barrier();
    const double left = clock(), seconds = steady_seconds() - arrived;
    const double slowest = largest_figures(communicator, {seconds})[0];
    const double clock_of_first = gather_figures(communicator, {left})[0][0].item<double>();
    if (round > 0 && slowest >= quickest) continue;
    quickest = slowest;
    offset = clock_of_first - left;
  }
  return offset;
}

std::string refusal_of_root(const Job& job) {
  const char* allowed = std::getenv("REPRISE_ALLOW_ROOT");
  if (!job.is_launched || geteuid() != 0 || (allowed && std::string_view(allowed) == "1")) return {};
  return "refuses to run ranks as root; set REPRISE_ALLOW_ROOT=1 to allow it";
}

}  // namespace reprise
