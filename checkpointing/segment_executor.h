#pragma once

#include <torch/csrc/autograd/edge.h>
#include <torch/types.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpointing/plan.h"
#include "checkpointing/step_record.h"
#include "model/stage.h"
#include "model/stage_chain.h"

namespace reprise {

// A stage between its forward and its backward. Holds the detached input and the end of the stage's graph, and not the
// output: that is the next stage's input and dies with it. Destroying it at any time releases what it holds.
class LiveStage {
 public:
  // Runs the stage with grad mode on and returns its output, detached.
  // Throws std::logic_error when the output of a stage after the first carries no graph: what is before it would learn
  // nothing. A first stage in which nothing is trainable has nothing to go back through.
  torch::Tensor forward(Stage& stage, const torch::Tensor& input, const StageContext& context);

  // Adds to the parameters' gradients, releases the graph and the input, and returns the input's gradient; undefined
  // when the input is tokens. After forward(), once.
  torch::Tensor backward(torch::Tensor gradient);

 private:
  torch::Tensor input_;  // (B, T, C), or (B, T) int64 for the first stage
  torch::autograd::Edge end_;
};

// A replay gave other bits than the forward that it repeats: a stage that is no function of its input and parameters,
// or a broken machine. The message names stage, step, micro-batch and place. Exit code 86.
struct ReplayDiffers : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A sample of replays that are compared with their forward, by a hash of every stage's output: in each n-th step one
// recomputed segment of one micro-batch, all of them in turn.
struct ReplayCheck {
  int64_t every_steps = 0;    // 0: none
  int64_t micro_batches = 1;  // of a step
  std::string place;          // what messages call this process
};

// Called with 2 s + 1 when the gradients of stage s's early parameters have been enqueued, with 2 s when its whole
// backward has; so the points fall from 2 n - 1 for n stages to 0, once each.
using PointFinal = std::function<void(int point)>;

// Runs forward and backward of one micro-batch under a plan. Each stage gets a detached boundary, so autograd works
// inside one stage only; recomputed segments are replayed from their kept boundary outside the autograd engine. Every
// plan gives bitwise the same loss and gradients. One thread at a time; works on the current stream of the model's
// device, where batches lie.
//
// Bytes held: a kept stage holds its input and what its save level keeps, from its forward to the end of its backward.
// A recomputed segment holds its first input until its replay (and the running stage's input during its first forward),
// then the same as a kept stage for every stage replayed and not yet done with; the gradient at its end waits
// meanwhile. No output is held beside the input of the next stage. Nobody reads what a replayed segment's last
// stage returns, which therefore stops early, unless the replay is verified.
class SegmentExecutor {
 public:
  // Throws std::invalid_argument on a plan that does not fit.
  SegmentExecutor(StageChain& model, Plan plan, uint64_t seed);

  // From the next step on. Changes no bit; in a step with a check the host waits for the device and copies from it.
  void verify_replays(ReplayCheck check) { check_ = std::move(check); }

  void begin_step(int64_t step);  // once before the step's first run(); resets the record
  // Adds loss_scale × d(loss sum)/d(parameter) to the parameters' gradients and
  // returns the detached, unscaled loss sum, () fp32 on the device. Parameters need their gradient views.
  // on_final must be callable; whatever it or a stage throws, and ReplayDiffers, leaves nothing held and the
  // executor ready for another begin_step(), with the gradients in an unknown state.
  torch::Tensor run(const Batch& batch, double loss_scale, const PointFinal& on_final);
  torch::Tensor evaluate(const Batch& batch);  // loss sum; forward only, no graph, no dropout

  const Plan& plan() const { return plan_; }
  const StepRecord& record() const { return record_; }
  StepRecord& record() { return record_; }

 private:
  StageContext context_of(const Batch& batch, int stage, double loss_scale);
  torch::Tensor forward(const Segment& segment, EventKind kind, torch::Tensor hidden, const Batch& batch,
                        double loss_scale, LiveStage* live);
  void reach(int point);  // says so of this point and of those above that nobody has spoken of
  void verify(EventKind kind, int stage, const torch::Tensor& output);

  StageChain& model_;
  Plan plan_;
  uint64_t seed_;
  StepRecord record_;
  int micro_batch_ = 0;
  const PointFinal* on_final_ = nullptr;  // of the run under way
  int last_point_ = 0;                    // that it was called with
  ReplayCheck check_;
  int64_t step_ = 0;
  const Segment* checked_segment_ = nullptr;  // of this step; nullptr: none
  int64_t checked_micro_batch_ = 0;
  std::vector<uint64_t> forward_hashes_;  // by stage, of the checked segment's forward
};

std::vector<StageShape> shapes_of(const StageChain& model);

}  // namespace reprise
