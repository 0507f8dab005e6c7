#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>

#include "checkpointing/cost_table.h"

namespace reprise::random_costs {

// Kinds of made-up cost tables for tests and benchmarks of the planner. Sizes are in the units of a GPT layer: one
// boundary of 2 MiB, attention 1 ms and feed-forward 1.6 ms forward, twice that backward; all, lean and input keep what
// the levels of `gpt2` keep; `input` pays 0.55 of a forward, `lean` 0.06.
enum class Kind {
  homogeneous,     // equal layers
  big_vocabulary,  // the head computes, works and sends eight times as much, the embedding sends twelve layers' worth
  mixed_widths,    // each stage scaled by a log-normal width
  log_normal       // every figure of every stage log-normal
};
inline constexpr Kind kKinds[] = {Kind::homogeneous, Kind::big_vocabulary, Kind::mixed_widths, Kind::log_normal};
inline constexpr const char* kKindNames[] = {"homogeneous", "big vocabulary", "mixed widths", "log-normal"};

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  // An embedding, attention and feed_forward per layer, a head: `stages` in all. All wire time is `ratio` times all
  // backward time, in about stages / 4 buckets; 0: no wire.
  CostTable make(Kind kind, int stages, double ratio, int64_t micro_batches = 1, double compute_share = 0) {
    CostTable costs;
    costs.device = "made up";
    costs.micro_sequences = 4;
    costs.tokens = 1024;
    costs.micro_batches = micro_batches;
    costs.base_bytes = bytes(40 * kMiB);
    costs.optimizer_seconds = 2e-3;
    std::vector<double> gradients;
    for (int s = 0; s < stages; ++s) {
      double gradient = 0;
      costs.stages.push_back(s == 0 || s + 1 == stages ? end(kind, s == 0, gradient) : inner(kind, s, gradient));
      gradients.push_back(gradient);
    }
    add_wire(costs, gradients, ratio);
    if (costs.wire) costs.wire->compute_share = compute_share;
    return costs;
  }

  // Replays stop early, and gradients are final early, at random; nothing else changes.
  void add_early(CostTable& costs) {
    for (StageCost& stage : costs.stages) stage.early_stop_seconds = stage.forward_seconds * uniform(0, 1);
    for (StageCost& stage : costs.stages) stage.late_seconds = stage.backward_seconds * uniform(0, 1);
    for (BucketCost& bucket : costs.buckets) bucket.is_early = below(2) == 0;
  }

  double uniform(double from, double to) { return std::uniform_real_distribution<>(from, to)(random_); }
  int below(int end) { return std::uniform_int_distribution<>(0, end - 1)(random_); }

 private:
  static constexpr double kMiB = 1 << 20;

  double log_normal(double deviation) { return std::exp(std::normal_distribution<>(0, deviation)(random_)); }
  static int64_t bytes(double count) { return static_cast<int64_t>(count); }

  StageCost end(Kind kind, bool embedding, double& gradient) {
    const double scale = kind == Kind::big_vocabulary ? 8 : 1;
    StageCost stage;
    stage.name = embedding ? "embedding" : "head";
    stage.forward_seconds = embedding ? 0.2e-3 : 2e-3 * scale;
    stage.backward_seconds = embedding ? 0.3e-3 : 1e-3;
    stage.boundary_bytes = bytes((embedding ? 0.02 : 2) * kMiB);
    const int64_t kept = bytes((embedding ? 0.1 : 4) * kMiB), workspace = bytes((embedding ? 4 : 12 * scale) * kMiB);
    stage.saves.fill({kept, 0, workspace, workspace});
    gradient = embedding ? (kind == Kind::big_vocabulary ? 12 : 2) : 0.01;
    return stage;
  }

  StageCost inner(Kind kind, int s, double& gradient) {
    const bool attention = s % 2 == 1, wild = kind == Kind::log_normal;
    const double width = kind == Kind::mixed_widths ? log_normal(0.5) : 1;
    const auto vary = [&](double deviation) { return wild ? log_normal(deviation) : 1; };
    const double boundary = 2 * width * kMiB * vary(0.8);
    const double forward = (attention ? 1e-3 : 1.6e-3) * width * width * vary(0.8);
    const double more = (attention ? 5 : 9) * boundary * vary(0.8);
    StageCost stage;
    stage.layer = (s - 1) / 2;
    stage.name = "layer" + std::to_string(stage.layer) + (attention ? ".attention" : ".feed_forward");
    stage.recomputable = true;
    stage.forward_seconds = forward;
    stage.backward_seconds = 2 * forward * vary(0.3);
    stage.boundary_bytes = bytes(boundary);
    const double shares[] = {1, (attention ? 0.7 : 0.45) * std::min(1.0, vary(0.3)), 0.02 * vary(0.5)};
    const double extras[] = {0, 0.06 * vary(0.8), 0.55 * vary(0.3)};
    for (size_t level = 0; level < 3; ++level) {
      stage.saves[level] = {bytes(boundary) + bytes(more * shares[level]), forward * extras[level],
                            bytes(boundary * (wild ? 1 + vary(0.5) : 1)), bytes(boundary * (wild ? 2 + vary(0.5) : 2))};
    }
    gradient = (attention ? 1 : 2) * width * width * vary(0.8);
    return stage;
  }

  // Buckets close at a quarter of a stage's share and more; latency is a hundredth of a bucket.
  void add_wire(CostTable& costs, const std::vector<double>& gradients, double ratio) {
    double total = 0, backward = 0;
    for (const double gradient : gradients) total += gradient;
    for (const StageCost& stage : costs.stages) backward += stage.backward_seconds;
    double open = 0;
    int highest = costs.size() - 1;
    for (int s = costs.size() - 1; s >= 0; --s) {
      open += gradients[static_cast<size_t>(s)];
      if (open < total * 4 / costs.size() && s > 0) continue;
      costs.buckets.push_back({s, highest, bytes(open * kMiB)});
      highest = s;
      open = 0;
    }
    if (ratio <= 0) return;
    const double seconds = ratio * backward;
    costs.wire = WireModel{0.01 * seconds / static_cast<double>(costs.buckets.size()), total * kMiB / (0.99 * seconds)};
  }

  std::mt19937_64 random_;
};

}  // namespace reprise::random_costs
