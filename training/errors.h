#pragma once

#include <stdexcept>

namespace reprise {

// Input files that are missing, truncated, damaged or out of range; names the file and the offset. Exit code 65.
class DataError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A file that could not be written, synced or renamed; names the path and the system's reason. Exit code 74.
class StorageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The run itself went wrong: a non-finite gradient with on_non_finite: stop. Exit code 70.
class TrainingStopped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace reprise
