#pragma once

#include "launcher/config.h"
#include "launcher/exit_codes.h"

namespace reprise {

// Trains as `config` says, on this process as one rank of an MPI job, and returns when the run directory
// is complete (kDone), or when the run is saved that was asked to stop (kStopped). Throws; what all ranks know of is
// thrown on every rank as SharedFailure. Call it before any thread is made.
ExitCode train(Config config);

}  // namespace reprise
