#pragma once

#include <functional>
#include <memory>
#include <string>

#include "distributed/communicator.h"

namespace reprise {

// What the environment says of the MPI job that started this process, before MPI itself is asked.
struct Job {
  bool is_launched = false;  // by mpirun or srun
  int rank = 0;
  int ranks = 1;
};

Job job_from_environment();

// Why this process must not run, in one line; empty: it may. As root under a launcher only with REPRISE_ALLOW_ROOT=1.
std::string refusal_of_root(const Job& job);

// The ranks of this job. Its start and its end may take `patience_seconds` each; past that this process says so and
// ends with exit code 75.
std::unique_ptr<Communicator> connect_ranks(double patience_seconds = 300);

// Collective: runs `work` on every rank; when it throws anywhere, all ranks throw one SharedFailure that names the
// first rank with a failure (when there is more than one rank) and carries its message and exit code. No rank is left
// waiting.
void together(Communicator& communicator, const std::function<void()>& work);

// The same for work of rank 0 alone.
inline void together_by_rank_0(Communicator& communicator, const std::function<void()>& work) {
  together(
      communicator, communicator.rank() == 0 ? work : [] {});
}

// Collective: what to add to `clock`, in seconds, to read rank 0's, to within a trip over the wire.
double clock_offset(Communicator& communicator, double (*clock)());

}  // namespace reprise
