#pragma once

#include <string>
#include <vector>

#include "benchmarks/experiment.h"

namespace reprise::bench {

// This machine, the build and the threads, without names that tell one host from another.
Json machine_facts();

struct Chapter {
  Experiment experiment;
  Finding finding;
};

// DIR/index.html, which needs no other file, and DIR/experiments.md, which shows DIR/experiments/NAME.svg; `command` is
// what made them.
void write_report(const std::string& directory, const std::vector<Chapter>& chapters, const std::string& command);

}  // namespace reprise::bench
