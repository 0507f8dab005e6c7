#pragma once

#include "launcher/config.h"
#include "launcher/exit_codes.h"
#include "launcher/stop_request.h"

namespace reprise {

// Trains as `config` says, on this process as one rank of an MPI job, and returns when the run directory
// is complete (kDone), or when the run is saved that was asked to stop (kStopped). Throws; what all ranks know of is
// thrown on every rank as SharedFailure.
ExitCode train(Config config, StopRequest& stop);

}  // namespace reprise
