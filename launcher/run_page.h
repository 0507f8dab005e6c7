#pragma once

#include <string>
#include <vector>

#include "monitoring/json_lines.h"
#include "monitoring/text_plot.h"

namespace reprise {

// {"memory", "peak 25.0 MiB, planned 24.9 MiB, budget 30.0 MiB", 0.83}; the share is for a bar, below 0: none.
struct Fact {
  std::string name, text;
  double share = -1;
};

// What is known by now: of the whole run, and of speed, phases and ranks in the last steps.
std::vector<Fact> facts_of(const RunHistory& history);

// A page that fits the style: how far the run is, its loss as a curve, the facts. `state` says whether it goes on.
std::string run_page(const RunHistory& history, const std::string& state, const TextStyle& style);

}  // namespace reprise
