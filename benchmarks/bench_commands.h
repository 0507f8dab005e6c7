#pragma once

#include "launcher/program.h"

namespace reprise {

Command add_bench_allreduce(CLI::App& bench);
Command add_bench_overlap(CLI::App& bench);

}  // namespace reprise
