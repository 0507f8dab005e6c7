#pragma once

#include <stdexcept>

namespace reprise {

// Input files that are missing, truncated, damaged or out of range; names the file and the offset. Exit code 65.
struct DataError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A file that could not be written, synced or renamed; names the path and the system's reason. Exit code 74.
struct StorageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The run itself went wrong: what optimizer.on_non_finite, on_spike or skip_limit does not allow. Exit code 70.
struct TrainingStopped : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The ranks' weights or moments are no longer equal bit for bit; the same message on every rank. Exit code 86.
struct ReplicasDiverged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace reprise
