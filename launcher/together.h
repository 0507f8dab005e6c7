#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "distributed/communicator.h"

namespace reprise {

// A failure that every rank knows of and ends with, each with the same exit code; rank 0 alone reports it.
class SharedFailure : public std::runtime_error {
 public:
  SharedFailure(int code, const std::string& message) : std::runtime_error(message), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

// Collective: runs `work` on every rank; when it throws anywhere, all ranks throw one SharedFailure that names the
// first rank with a failure (when there is more than one rank) and carries its message and exit code. No rank is left
// waiting.
void together(Communicator& communicator, const std::function<void()>& work);

}  // namespace reprise
