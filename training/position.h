#pragma once

#include <cstdint>
#include <string>

#include "model/stage_chain.h"

namespace reprise {

// What a rank's main thread is at, for its heartbeat. The first ones are StepRecord's.
enum class Phase : uint8_t { between, forward, recompute, backward, data, reduce, optimizer, report, evaluation, save };

const char* name_of(Phase phase);

// Packed as in StepRecord: the step, from 0, in the upper 40 bits, the phase in 8, the stage in 16.
uint64_t position(int64_t step, Phase phase, int stage = 0);

// "step 12, backward of h3.attention"; "start" before the first step. Any thread; the model's stages do not change.
std::string describe_position(uint64_t position, const StageChain& model);

}  // namespace reprise
