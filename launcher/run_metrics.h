#pragma once

#include "launcher/config.h"
#include "monitoring/step_report.h"
#include "training/flat_model.h"
#include "training/trainer.h"

namespace reprise {

// Fills in what RunStart says of this rank.
void describe_rank(RunStart& start, Config config, const Communicator& communicator, const FlatModel& flat,
                   const Trainer& trainer);

}  // namespace reprise
