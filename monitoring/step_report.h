#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace reprise {

// A number over the ranks. The median of an even count is the lower one: of two ranks the faster is the yardstick.
struct RankSpread {
  double min = 0, median = 0, max = 0;
  int max_rank = 0;  // whose the largest is; of equals the first
};

// The definitions of all reported numbers. Seconds are wall-clock of this rank; data … other are disjoint and sum to
// step_seconds.
struct StepReport {
  int64_t step = 0;      // 1-based: the report of the n-th update
  double loss = 0;       // mean negative log-likelihood per target of the global batch, nats
  double grad_norm = 0;  // before clipping, of the global gradient
  double learning_rate = 0;
  int64_t tokens = 0;                // targets of the global batch
  std::array<int64_t, 2> samples{};  // of the global batch: the first and the last one's number in the data's order
  bool skipped = false;              // no update
  std::string skip_reason;           // one of kSkipReasons
  double loss_scale = 1;             // what the gradients of this step were formed too large by
  bool stop_wanted = false;          // some rank wants the run to end here

  double start_seconds = 0;  // steady_clock of this rank
  double step_seconds = 0;
  double data_seconds = 0;
  double forward_seconds = 0;
  double recompute_seconds = 0;  // replays of recomputed segments; what thin save levels replay counts as backward
  double backward_seconds = 0;
  double optimizer_seconds = 0;  // check, clip, update
  double other_seconds = 0;
  double comm_seconds = 0;          // at least one bucket on the wire; overlaps the others
  double comm_exposed_seconds = 0;  // main thread waiting in finish(); one of the disjoint parts
  int64_t comm_bytes = 0;           // of gradients summed over ranks, as they travel; 0 with one rank

  uint64_t peak_bytes = 0;          // this rank's highest tensor bytes in the step, parameters and all included
  uint64_t peak_bytes_max = 0;      // over ranks
  uint64_t allocated_bytes = 0;     // of this rank's tensors at its end: what lives between steps
  uint64_t idle_bytes = 0;          // that a device's allocator holds beside tensors at its end; 0 on the CPU
  uint64_t planned_peak_bytes = 0;  // 0: no prediction
  double planned_step_seconds = 0;

  // Over ranks. The reduction makes steps equally long; what makes it wait shows as the largest compute or data and
  // the smallest wait.
  RankSpread rank_step, rank_data;
  RankSpread rank_compute;  // forward, recompute, backward and optimizer
  RankSpread rank_wait;     // comm_exposed
};

// The disjoint parts of step_seconds, and what is compared between ranks, by name.
inline constexpr std::pair<const char*, double StepReport::*> kPhases[] = {
    {"data", &StepReport::data_seconds},
    {"forward", &StepReport::forward_seconds},
    {"recompute", &StepReport::recompute_seconds},
    {"backward", &StepReport::backward_seconds},
    {"comm_exposed", &StepReport::comm_exposed_seconds},
    {"optimizer", &StepReport::optimizer_seconds},
    {"other", &StepReport::other_seconds}};
inline constexpr std::pair<const char*, RankSpread StepReport::*> kRankSpreads[] = {
    {"step", &StepReport::rank_step},
    {"data", &StepReport::rank_data},
    {"compute", &StepReport::rank_compute},
    {"wait", &StepReport::rank_wait}};

// overflow: of a scaled loss, a part of the search for its scale; non_finite: the gradient; spike: its norm far over
// the median.
inline constexpr const char* kSkipReasons[] = {"overflow", "non_finite", "spike"};

struct EvaluationReport {
  int64_t step = 0;
  double loss = 0;  // mean over all targets, nats
  int64_t tokens = 0;
  double seconds = 0;
};

struct SnapshotReport {
  int64_t step = 0;
  bool saved = true;         // durable; false: dropped, and the one before is still the newest
  std::string problem;       // one line: why it was dropped, or why older ones could not be removed; may be empty
  int64_t bytes = 0;         // of tensors, over all ranks
  double seconds = 0;        // from the step's end until it was known to be durable
  double stall_seconds = 0;  // that training waited for it on this rank
};

struct RunStart {
  std::string run, model, plan, plan_origin;  // plan: one character a stage
  int ranks = 1;
  int64_t resumed_step = 0;  // done before this start
  int64_t parameters = 0, steps = 0, global_sequences = 0, micro_sequences = 0, context = 0;
  double flops_per_token = 0;  // 6N + 6·L·C·T (MFU counts no recomputation)
  uint64_t planned_peak_bytes = 0;
  double planned_step_seconds = 0;
  int64_t restarts = 0;  // starts of this run before this one

  // Of this rank. `build` and `place` name what runs (version, commit, libtorch, cuda, nccl, mpi; "" where there is
  // none) and where (host, local_rank, device, uuid: of its GPU).
  uint64_t parameter_bytes = 0, gradient_bytes = 0, optimizer_bytes = 0;  // a copy to compute in counts, too
  uint64_t budget_bytes = 0;        // for its tensors: the policy's; without one its share of the memory there is
  double peak_flop_per_second = 0;  // of its device, dense, in the type that it computes in; 0: not known
  std::map<std::string, std::string> build, place;
};

struct RunEnd {
  int64_t steps = 0, tokens = 0, skipped_steps = 0;
  double seconds = 0;
  std::string weights_xxh3;     // XXH3-64, hex, over the fp32 parameters in table order without padding
  uint64_t peak_bytes_max = 0;  // over steps and ranks
  double median_step_seconds = 0;
  uint64_t planned_peak_bytes = 0;
  double planned_step_seconds = 0;
};

// Model FLOP utilization of a rank (MFU): recomputation not counted, over its device's dense peak; 0: that is not
// known.
inline double model_flops_utilization(const RunStart& run, const StepReport& step) {
  const double own_tokens = static_cast<double>(step.tokens) / run.ranks;
  const double at_peak = step.step_seconds * run.peak_flop_per_second;
  return at_peak > 0 ? own_tokens * run.flops_per_token / at_peak : 0;
}

// The upper one of two; 0 of nothing.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// At least one value.
inline RankSpread spread_of(const std::vector<double>& by_rank) {
  std::vector<double> sorted = by_rank;
  std::sort(sorted.begin(), sorted.end());
  const auto max = std::max_element(by_rank.begin(), by_rank.end());
  return {sorted.front(), sorted[(sorted.size() - 1) / 2], *max, static_cast<int>(max - by_rank.begin())};
}

// How far a prediction was off, in per cent of what was measured; above 0: predicted too much.
inline double miss_percent(double planned, double measured) { return 100 * (planned - measured) / measured; }

// Receives what happened; called on the main thread between steps. A sink must not throw for reasons of its own output
// except StorageError-like failures of files the user asked for.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void start(const RunStart&) {}
  virtual void step(const StepReport&) {}
  virtual void evaluation(const EvaluationReport&) {}
  virtual void snapshot(const SnapshotReport&) {}
  virtual void end(const RunEnd&) {}
};

}  // namespace reprise
