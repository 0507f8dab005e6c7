#pragma once

#include "benchmarks/experiment.h"

// One function an experiment, each in a file of its own.
namespace reprise::bench {

Finding run_activations(const Options& options);
Finding run_memory(const Options& options);
Finding run_speed(const Options& options);
Finding run_selective(const Options& options);
Finding run_adaptive(const Options& options);
Finding run_production(const Options& options);
Finding run_paradox(const Options& options);
Finding run_playbook(const Options& options);

}  // namespace reprise::bench
