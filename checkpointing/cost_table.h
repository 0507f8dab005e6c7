#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpointing/plan.h"
#include "model/save_level.h"

namespace reprise {

inline constexpr std::array<SaveLevel, 3> kSaveLevels{SaveLevel::all, SaveLevel::lean, SaveLevel::input};

// What one save level of a stage costs.
struct SaveCost {
  int64_t kept_bytes = 0;                // from its forward to the end of its backward; the stage's own input included
  double extra_seconds = 0;              // recomputed inside the stage's own backward
  int64_t forward_workspace_bytes = 0;   // beside kept bytes while it runs forward; its output included
  int64_t backward_workspace_bytes = 0;  // the same for its backward; incoming and outgoing gradient included
};

struct StageCost {
  std::string name;
  int layer = -1;  // -1: embedding or head
  bool recomputable = false;
  double forward_seconds = 0, backward_seconds = 0;
  double early_stop_seconds = 0;  // of forward_seconds: what it leaves out as the last stage of a replayed segment
  double late_seconds = 0;        // of backward_seconds: when the gradients of its output layer are final already
  int64_t boundary_bytes = 0;     // the stage's input
  std::array<SaveCost, 3> saves;

  const SaveCost& at(SaveLevel level) const { return saves[static_cast<size_t>(level)]; }
  double replay_seconds(bool is_last) const { return forward_seconds - (is_last ? early_stop_seconds : 0); }
};

// A bucket takes latency + bytes / bandwidth, one bucket at a time. Where the thread that moves it has no core of its
// own it takes compute_share of each of these seconds from the stages that compute next.
struct WireModel {
  double latency_seconds = 0;
  double bytes_per_second = 1;
  double compute_share = 0;  // from 0 to 1
};

// Gradients of the stages lowest … highest that travel as one, complete when the backward of `lowest` is done or, with
// none of `lowest` but its output layer's, late_seconds before.
struct BucketCost {
  int lowest = 0, highest = 0;
  int64_t bytes = 0;
  bool is_early = false;

  int point() const { return 2 * lowest + is_early; }  // of the backward, as PointFinal counts
};

// Everything the planner knows of a model on a machine.
struct CostTable {
  std::string device;
  int64_t micro_sequences = 1, tokens = 1;
  int64_t micro_batches = 1;
  int64_t base_bytes = 0;  // parameters, gradients, optimizer, batch
  double optimizer_seconds = 0;
  std::optional<WireModel> wire;    // nothing: communication costs nothing
  std::vector<BucketCost> buckets;  // in launch order: points never increase
  std::vector<StageCost> stages;

  int size() const { return static_cast<int>(stages.size()); }
  const StageCost& operator[](int stage) const { return stages[static_cast<size_t>(stage)]; }
};

// What policies need to know of the chain.
std::vector<StageShape> shapes_of(const CostTable& costs);

// Wire seconds of the gradients that are complete at the points 0 … k of the backward, for each k below 2 n.
std::vector<double> wire_seconds_up_to(const CostTable& costs);

// 0 without a wire.
inline double compute_share_of(const CostTable& costs) { return costs.wire ? costs.wire->compute_share : 0; }

}  // namespace reprise
