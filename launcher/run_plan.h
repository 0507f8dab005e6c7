#pragma once

#include <string>

#include "distributed/communicator.h"
#include "launcher/config.h"
#include "launcher/device_choice.h"
#include "launcher/joint_choice.h"
#include "model/stage_chain.h"
#include "monitoring/step_report.h"
#include "training/trainer.h"

namespace reprise {

// Collective: the micro-batch, the plan and its prediction, with every auto in `config` resolved, from figures that are
// equal on every rank. Measures what no earlier run has. Throws SharedFailure.
JointChoice choose_together(Config& config, Communicator& communicator, const DeviceChoice& device,
                            const StageChain& model);

// Memory has run out (for `reason`) in step `step` although the plan was to fit: against what was promised, and what
// would take less.
std::string explain_memory(const JointChoice& choice, const std::string& rank, int64_t step, const std::string& reason);

// Fills in what RunStart says of this rank: its memory and budget, the build, the device.
void describe_rank(RunStart& start, Config config, const Communicator& communicator, const FlatModel& flat,
                   const Trainer& trainer);

}  // namespace reprise
