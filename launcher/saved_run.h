#pragma once

#include <memory>
#include <string>

#include "launcher/config.h"
#include "model/stage_chain.h"
#include "training/flat_model.h"

namespace reprise {

// A trained model read back from a run: its configuration, its weights in one flat tensor, and the model bound to them.
struct SavedRun {
  Config config;
  std::string tokenizer;  // as Tokenizer wants it
  std::unique_ptr<FlatModel> weights;
  std::unique_ptr<StageChain> model;  // ends before its weights
};

// `path`: a run directory (config.yaml and final/model.safetensors) or a folder with model.safetensors whose
// config.yaml lies beside it or one level up. It lies on a CUDA device where this process sees one: of several, on the
// one of its rank among the host's. Throws DataError when a part is missing or does not belong to this model;
// ConfigError when config.yaml is wrong.
// A snapshot is one, too; so is a run that has snapshots and no final weights yet: the newest good one.
SavedRun load_run(const std::string& path, int local_rank = 0);

// The weights of what load_run() takes, into a bound model of the same shapes; fp16 and bf16 are widened. Throws
// DataError that tells all that do not fit.
void load_weights(const std::string& path, StageChain& model, FlatModel& flat);

}  // namespace reprise
