#pragma once

#include <string>
#include <vector>

#include "model/save_level.h"

namespace reprise {

// Consecutive stages, both ends inclusive. A kept segment is one stage; a recomputed one keeps only its first input
// and is replayed from it when the backward arrives.
struct Segment {
  int first = 0;
  int last = 0;
  bool recompute = false;
  bool operator==(const Segment&) const = default;
};

// What to forget and what to keep: segments cover stages 0 … n−1 in order; one save level per stage (for a recomputed
// segment: the level of its replay, equal within the segment). A value: comparable, printable, stored in the run.
struct Plan {
  std::vector<Segment> segments;
  std::vector<SaveLevel> save;
  std::string origin;  // how it came to be: "every: 2", "budget: 3.0 GiB"
  bool operator==(const Plan& other) const { return segments == other.segments && save == other.save; }
};

// What policies need to know of a chain.
struct StageShape {
  int layer = -1;  // -1: embedding or head
  bool recomputable = false;
};

// Throws InvalidSetting, of checkpointing.segments, when the segments do not cover the stages once and in order, when a
// kept one is longer than one stage, or when a recomputed one holds a stage that is not recomputable; of
// checkpointing.save when there is not one save level per stage, or a recomputed segment mixes levels.
void check_plan(const Plan& plan, const std::vector<StageShape>& stages);

const char* name_of(SaveLevel level);

// One character a stage: '=' keep all, '-' lean, '.' input, 'r' recompute, with '|' between segments of recomputed
// stages.
std::string strip_of(const Plan& plan);

}  // namespace reprise
