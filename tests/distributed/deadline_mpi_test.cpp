// ctest-ranks: 2
// A rank that is alive but makes no call: the other one's wait ends within its limit and names it.
#include <torch/types.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "distributed/mpi_communicator.h"

namespace {

constexpr double kLimitSeconds = 1.0;

// The verdict of the waiting rank, as an exit code of the job.
int wait_for_silent_rank(reprise::Communicator& communicator) {
  communicator.set_wait_limit(kLimitSeconds, "step 12");
  const auto begin = std::chrono::steady_clock::now();
  const auto pending = communicator.start_sum(torch::zeros({1 << 20}));
  const std::string expected = communicator.describe(0) + ": no answer from " + communicator.describe(1) +
                               " in all-reduce of 4.0 MiB for 1.0 s during step 12";
  try {
    pending->wait();
  } catch (const reprise::PeerLost& lost) {
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
    std::cout << lost.what() << " (after " << waited.count() << " s)" << std::endl;
    const bool in_time = waited.count() >= kLimitSeconds && waited.count() < kLimitSeconds + 1;
    return in_time && lost.what() == expected ? 0 : 1;
  }
  return 1;
}

}  // namespace

int main() {
  const auto communicator = reprise::make_mpi_communicator({60, [](const std::string&) { std::abort(); }});
  communicator->barrier();
  if (communicator->rank() == 0) reprise::abort_mpi_job(wait_for_silent_rank(*communicator));
  std::this_thread::sleep_for(std::chrono::seconds(20));
  reprise::abort_mpi_job(1);  // rank 0 should have ended the job long ago
}
