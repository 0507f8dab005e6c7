#include "checkpointing/cost_table.h"

namespace reprise {

std::vector<StageShape> shapes_of(const CostTable& costs) {
  std::vector<StageShape> shapes;
  for (const StageCost& stage : costs.stages) shapes.push_back({stage.layer, stage.recomputable});
  return shapes;
}

std::vector<double> wire_seconds_up_to(const CostTable& costs) {
  std::vector<double> seconds(2 * costs.stages.size(), 0.0);
  if (!costs.wire) return seconds;
  for (const BucketCost& bucket : costs.buckets) {
    seconds[static_cast<size_t>(bucket.point())] +=
        costs.wire->latency_seconds + static_cast<double>(bucket.bytes) / costs.wire->bytes_per_second;
  }
  for (size_t k = 1; k < seconds.size(); ++k) seconds[k] += seconds[k - 1];
  return seconds;
}

}  // namespace reprise
