#pragma once

#include <string>

#include "checkpointing/planner.h"
#include "launcher/config.h"

namespace reprise {

// The files of a run: config.yaml (resolved), plan.json, metrics.jsonl, loss.svg, final/model.safetensors. Rank 0 only.
class RunDirectory {
 public:
  // Throws ConfigError when the folder holds a run already, unless run.overwrite. Changes nothing.
  static void require_free(const Config& config);

  // Makes the folder, without the files of a run that was there and with all others, and writes config.yaml. Throws as
  // require_free() does, and StorageError.
  explicit RunDirectory(const Config& config);

  void write_plan(const PlannedStep& step) const;  // plan_json and how the plan came to be
  void write_weights(const StageChain& model, const std::string& tokenizer) const;

  std::string metrics() const { return path_ + "/metrics.jsonl"; }
  std::string loss_plot() const { return path_ + "/loss.svg"; }

 private:
  std::string path_;
};

}  // namespace reprise
