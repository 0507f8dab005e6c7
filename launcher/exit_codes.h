#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace reprise {

// What the program's exit status means; sysexits numbers where they fit.
enum ExitCode : int {
  kDone = 0,
  kUsage = 64,          // unknown command or option
  kBadInput = 65,       // a data file or a saved run is missing, truncated or damaged
  kDoesNotFit = 69,     // no plan or no allocation fits the memory
  kInternal = 70,       // a broken promise of the program itself
  kStorage = 74,        // a file could not be written
  kPeerLost = 75,       // another rank died or went silent
  kConfiguration = 78,  // a setting the user can mend
  kStopped = 85,        // asked to stop: the run is saved, and the same command goes on
  kDiverged = 86,     // the ranks' weights, or a replay and its forward, differ: the next start goes on from a snapshot
  kTerminated = 143,  // by TERM, as a shell counts it: nothing was saved
};

// An option's value that CLI11 cannot judge. Exit code 64.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A failure that every rank knows of and ends with, each with the same exit code; rank 0 alone reports it.
struct SharedFailure : std::runtime_error {
  SharedFailure(int exit_code, const std::string& message) : std::runtime_error(message), code(exit_code) {}
  const int code;
};

// What to tell the user about an exception and how to end.
struct Failure {
  int code = kInternal;
  std::string message;     // one line
  bool is_shared = false;  // every rank has it and ends with it; rank 0 alone reports it
};

Failure describe_failure(std::exception_ptr error);

std::string exit_codes_help();  // for --help

}  // namespace reprise
