#pragma once

#include <functional>
#include <vector>

#include "checkpointing/segment_executor.h"
#include "distributed/communicator.h"
#include "distributed/gradient_reducer.h"
#include "model/stage_chain.h"
#include "monitoring/step_report.h"
#include "training/flat_model.h"
#include "training/loss_scaler.h"
#include "training/optimizer.h"
#include "training/skip_policy.h"
#include "training/snapshot_format.h"
#include "training/token_data.h"

namespace reprise {

// What a rank's main thread is at, for its heartbeat. The first ones are StepRecord's.
enum class Phase : uint8_t { between, forward, recompute, backward, data, reduce, optimizer, report, evaluation, save };

// "step 12, backward of h3.attention"; "start" before the first step. The position is packed as in StepRecord: the
// step, from 0, in the upper 40 bits, the phase in 8, the stage in 16. Any thread; the model's stages do not change.
std::string describe_position(uint64_t position, const StageChain& model);

struct TrainerSetting {
  uint64_t seed = 1;
  int64_t steps = 100;
  int64_t global_sequences = 8, micro_sequences = 4;
  int64_t first_bucket_bytes = 1 << 20, bucket_bytes = 25 << 20;
  bool overlap = true;
  double deadline_seconds = 30;  // floor of every wait's limit
  int64_t verify_every = 0;      // see ReplayCheck
  int64_t compare_every = 100;   // steps between comparisons of the replicas; 0: never, not before a save either
  SkipSetting skips;
  OptimizerSetting optimizer;
  Precision precision;
  std::function<bool()> wants_stop;  // on this rank, asked at the end of each step; empty: never
};

// One rank's training: owns executor, reducer and optimizer, built in that order. Main thread only; every method but
// the accessors is collective. The model is bound to `flat` and initialised; both outlive the trainer. Works on their
// device; the host waits for it once a step, at the end.
class Trainer {
 public:
  // Throws std::invalid_argument unless global_sequences is a multiple of micro_sequences × ranks, DataError on shards
  // without one window.
  Trainer(StageChain& model, FlatModel& flat, Plan plan, Communicator& communicator, const TokenShards& shards,
          TrainerSetting setting);

  // One update; a non-finite gradient or a spike (see SkipPolicy) skips it on every rank alike, and with loss scaling
  // the former halves the scale.
  StepReport step();

  // Throws ReplicasDiverged when the step's comparison found that, and TrainingStopped when SkipPolicy says so. Call it
  // once the step is reported.
  void require_sound(const StepReport& report) const;

  // Before anything is saved: throws ReplicasDiverged unless all ranks hold the same flat tensors.
  void require_equal_replicas() const;

  // Mean loss over at most `most_windows` windows, spread evenly over the split; 0: all.
  EvaluationReport evaluate(const TokenShards& shards, int64_t most_windows);

  // Room for what happens between steps and takes longer than one (start, evaluation, save): sets the wait limit.
  void expect_long_wait(Phase phase, double at_least_seconds = 0) const;
  void move_to(Phase phase) const;  // for the heartbeat: what the main thread turns to

  // What a snapshot holds: the flat tensors of parameters and optimizer, and where training stands; the host waits for
  // the latter. Once the tensors have been filled again, on every rank alike, resume() goes on from there, as if
  // nothing had happened. All three of this rank alone.
  std::vector<FlatState> states() const;
  Progress progress() const;
  void resume(const Progress& progress);

  int64_t steps_done() const { return step_; }
  const SegmentExecutor& executor() const { return executor_; }
  const ReducerTimes& reducer_times() const { return reducer_.times(); }  // of the last step
  const std::vector<Bucket>& buckets() const { return buckets_; }

 private:
  StepReport report(const GradientCheck& check, const Moment& started, const Moment& check_started,
                    const Moment& ended);
  void share_figures(StepReport& report);
  bool compares_replicas() const { return setting_.compare_every > 0 && communicator_.size() > 1; }
  double wait_limit() const;

  StageChain& model_;
  const torch::Tensor parameters_;  // flat
  Communicator& communicator_;
  const TrainerSetting setting_;
  const torch::Device device_;  // the model's
  const double micro_scale_;    // 1 / targets of the global batch
  const std::vector<Bucket> buckets_;
  SegmentExecutor executor_;
  GradientReducer reducer_;
  AdamW optimizer_;
  LossScaler scaler_;
  SkipPolicy skips_;
  double loss_scale_;  // the host's copy of the scaler's, as of the last report
  BatchSource data_;
  const PointFinal reduce_when_final_, keep_accumulating_;
  torch::Tensor loss_sum_;  // () fp64 on the device: of the step's micro-batches
  int64_t step_ = 0;
  std::string divergence_;  // what the last comparison of the replicas found; empty: they are equal
  double data_seconds_ = 0;
  std::vector<double> step_seconds_;  // of the last steps, for the wait limit
};

}  // namespace reprise
