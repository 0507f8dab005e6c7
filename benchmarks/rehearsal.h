#pragma once

#include <cstdint>
#include <vector>

#include "checkpointing/segment_executor.h"
#include "distributed/gradient_reducer.h"
#include "model/stage_chain.h"
#include "training/flat_model.h"
#include "training/optimizer.h"

namespace reprise {

// What a rehearsed step took.
struct RehearsedStep {
  double start_seconds = 0, step_seconds = 0;  // from the first forward to the end of the update; steady_clock
  double optimizer_seconds = 0;                // check, clip, update
  uint64_t peak_bytes = 0;
  ReducerTimes wire;
  std::vector<StageEvent> events;
  std::vector<double> final_seconds;  // by point of the last micro-batch's backward (PointFinal); steady_clock
};

// Processor time of this process but for the calling thread.
double other_threads_seconds();

// Steps for measuring: one model with its optimizer on random tokens, which many plans may take in turn, with or
// without communication. The step is the trainer's: micro-batches, reduction with the last one, the update, and the
// batch after this one read ahead. Main thread only.
class Rehearsal {
 public:
  // `sequences` of this rank a step.
  Rehearsal(const ModelConfig& model, const OptimizerSetting& optimizer, int64_t sequences, uint64_t seed,
            torch::Dtype compute, torch::Device device = torch::kCPU);

  // In micro-batches of `micro_sequences`, a divisor of the step's. `ranks` divide the loss, so that the sums over
  // ranks have the size of a mean.
  RehearsedStep step(SegmentExecutor& executor, GradientReducer& reducer, int64_t micro_sequences, int ranks);

  StageChain& model() { return model_; }
  FlatModel& flat() { return flat_; }

 private:
  const OptimizerSetting setting_;
  const int64_t sequences_;
  StageChain model_;
  FlatModel flat_;
  AdamW optimizer_;
};

}  // namespace reprise
