#pragma once

#include <memory>
#include <string>

#include "distributed/communicator.h"

namespace reprise {

// The ranks that mpirun or srun started; a group of one without either. One communication thread per rank makes every
// MPI call of a step, and sleeps while the wire is busy. Build it once per process, before the first collective;
// destroying it finalizes MPI when all ranks are healthy, and makes no collective call after PeerLost. `patience`
// bounds MPI's own start and end.
std::unique_ptr<Communicator> make_mpi_communicator(const Patience& patience);

// Ends the whole job at once with an exit code: what is left to do after PeerLost. Does not return.
[[noreturn]] void abort_mpi_job(int exit_code);

std::string mpi_library_version();

}  // namespace reprise
