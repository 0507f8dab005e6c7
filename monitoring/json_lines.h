#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monitoring/step_report.h"

namespace reprise {

// metrics.jsonl: one object a line, appended to what the file holds. "event" is start, step, evaluation, snapshot or
// end; the other members carry the names of the reports' fields ("time": unix seconds), planned ones only when there is
// a prediction, and "end" then peak_miss_percent and step_miss_percent. Floats in shortest round-trip form, always with
// a point or an exponent; NaN and infinities as the strings "NaN", "Infinity", "-Infinity". Each line is one write();
// a line that does not go in whole is taken back. Throws std::system_error naming the path.
std::unique_ptr<Sink> make_json_lines(const std::string& path);

// What such a file holds of a run.
struct RunHistory {
  RunStart run;                   // the latest start
  std::vector<StepReport> steps;  // those that count: a run that goes on from a snapshot takes later ones back
  std::vector<EvaluationReport> evaluations;
  std::vector<SnapshotReport> snapshots;
  std::optional<RunEnd> end;
};

// Follows a file that a run may be writing: at the far end of a network file system, too, for it only reads.
class JsonLinesReader {
 public:
  explicit JsonLinesReader(std::string path) : path_(std::move(path)) {}

  // Takes in the whole lines that are new since the last call, all of them anew where the file was cut back or replaced
  // since; false: nothing changed. Throws std::system_error when it cannot be read, DamagedFile when a line is no
  // event.
  bool read();
  const RunHistory& history() const { return history_; }

 private:
  void take(const std::string& line);

  std::string path_, last_line_;  // the latter with its line end; at end_ in the file
  std::streamoff end_ = 0;
  int64_t lines_ = 0;
  RunHistory history_;
};

}  // namespace reprise
