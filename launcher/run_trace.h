#pragma once

#include <string>

#include "distributed/communicator.h"
#include "monitoring/trace.h"
#include "training/trainer.h"

namespace reprise {

// A rank's steps as a trace: stages on one lane, buckets on the wire on another, buckets waiting for it, and memory.
class RunTrace {
 public:
  // Collective: the ranks' clocks are compared. Writes DIRECTORY/trace/rank-N.json; where an earlier start of the run
  // has written there, trace/start-2/rank-N.json, and so on.
  RunTrace(const std::string& directory, const StageChain& model, Communicator& communicator);
  void add(const StepReport& report, const Trainer& trainer);

 private:
  const StageChain& model_;
  TraceFile file_;
};

}  // namespace reprise
