#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/config.h"
#include "monitoring/json_lines.h"
#include "monitoring/text_plot.h"

namespace reprise {

// A run directory for those who look on; its metrics may still grow.
struct ViewedRun {
  Config config;
  int64_t budget_bytes = 0;  // 0: none
  JsonLinesReader metrics;
};

// Throws DataError when there is no run or its metrics are damaged, ConfigError when its config.yaml is.
ViewedRun open_run(const std::string& directory);

// {"memory", "peak 25.0 MiB, planned 24.9 MiB, budget 30.0 MiB", 0.83}; the share is for a bar, below 0: none.
struct Fact {
  std::string name, text;
  double share = -1;
};

// What is known by now: of the whole run, and of speed, phases and ranks in the last steps.
std::vector<Fact> facts_of(const RunHistory& history, int64_t budget_bytes);

// A page that fits the style: how far the run is, its loss as a curve, the facts. `state` says whether it goes on.
std::string run_page(const RunHistory& history, int64_t budget_bytes, const std::string& state, const TextStyle& style);

}  // namespace reprise
