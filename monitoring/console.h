#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>

#include "monitoring/format.h"
#include "monitoring/step_report.h"

namespace reprise {

// Step i/n, loss, tokens/s, peak memory, exposed communication and ETA; in place on a terminal (at most ten times a
// second, cut to its width; NO_COLOR is honoured), plain lines without colour when piped. Rank 0 only. `every_steps`:
// a piped line for every so many steps, and for the first and the last. tokens/s, exposed and ETA come from the last
// 16 steps, and a rank that was slower than the others in them is named. The caller owns `out` and keeps it open for
// the sink's life; failures to write to it are ignored.
std::unique_ptr<Sink> make_console(std::FILE* out, int64_t every_steps);

// Whether a person sees what is written to `out`, under mpirun too.
bool writes_to_terminal(std::FILE* out);

}  // namespace reprise
