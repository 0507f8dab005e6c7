#pragma once

#include <string>

#include "checkpointing/planner.h"
#include "launcher/config.h"

namespace reprise {

// The files of one run: config.yaml (resolved), plan.json, metrics.jsonl, loss.svg, final/model.safetensors. Rank 0
// only.
class RunDirectory {
 public:
  // Makes the folder and writes config.yaml. A folder that holds a run already: ConfigError unless run.overwrite, which
  // removes that run's files and leaves all others. Throws StorageError.
  explicit RunDirectory(const Config& config);

  // config.yaml again, now with every auto resolved, and plan.json: plan_json and how the plan came to be.
  void write_choices(const Config& config, const PlannedStep& step) const;
  void write_weights(const StageChain& model, const std::string& tokenizer) const;

  std::string metrics() const { return path_ + "/metrics.jsonl"; }
  std::string loss_plot() const { return path_ + "/loss.svg"; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace reprise
