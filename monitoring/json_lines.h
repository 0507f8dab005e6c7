#pragma once

#include <memory>
#include <string>

#include "monitoring/step_report.h"

namespace reprise {

// metrics.jsonl: one object a line, appended to what the file holds. "event" is start, step, evaluation or end; the
// other members carry the names of the reports' fields ("time": unix seconds), planned ones only when there is a
// prediction, and "end" then peak_miss_percent and step_miss_percent. Floats in shortest round-trip form, always with
// a point or an exponent; NaN and infinities as the strings "NaN", "Infinity", "-Infinity". Each line is one write();
// a line that does not go in whole is taken back. Throws std::system_error naming the path.
std::unique_ptr<Sink> make_json_lines(const std::string& path);

}  // namespace reprise
