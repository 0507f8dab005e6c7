#pragma once

#include "launcher/config.h"

namespace reprise {

// Trains as `config` says, on this process as one rank of an MPI job, and returns when the run directory
// is complete. Throws; what all ranks know of is thrown on every rank as SharedFailure.
void train(Config config);

}  // namespace reprise
