#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpointing/planner.h"
#include "launcher/config.h"
#include "launcher/start_point.h"
#include "monitoring/json_lines.h"
#include "monitoring/step_report.h"

namespace reprise {

// The files of a run: config.yaml (resolved), plan.json, costs.json, metrics.jsonl, loss.svg, snapshots,
// final/model.safetensors, the data's tokenizer.json (here and beside the weights), and lock, which says who writes
// them. Rank 0 only.
class RunDirectory {
 public:
  // Throws ConfigError when the folder holds a run already. Changes nothing.
  static void require_free(const Config& config);

  // The folder for a run that begins as `start` says: without the files of a run that was there and with all others,
  // or as that run's snapshot saw them; with a new config.yaml. Throws StorageError, std::system_error.
  RunDirectory(const Config& config, const StartPoint& start);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;

  // plan.json: plan_json and how the plan came to be; costs.json: what it was chosen from.
  void write_plan(const CostTable& costs, const PlannedStep& step) const;

  // prometheus_sd.json, Prometheus' file_sd: where each rank serves its metrics; "" nowhere. Gone with this object.
  void write_targets(const std::string& run, const std::vector<std::string>& addresses) const;

  void write_weights(const StageChain& model, const std::string& tokenizer) const;

  // What a snapshot keeps beside the state, by name of file: config.yaml, plan.json and the
  // tokenizer.json of data that has one.
  std::map<std::string, std::string> texts() const;

  // Tells a sink of the steps and evaluations that metrics.jsonl holds.
  void replay(Sink& sink) const;

  std::string metrics() const { return path_ + "/metrics.jsonl"; }
  std::string loss_plot() const { return path_ + "/loss.svg"; }

 private:
  const std::string path_;
};

// The metrics of a run to look on, read once. Throws DataError where there is no run, DamagedFile.
JsonLinesReader open_metrics(const std::string& directory);

}  // namespace reprise
