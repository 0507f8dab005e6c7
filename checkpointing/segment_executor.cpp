#include "checkpointing/segment_executor.h"

#include <utility>

namespace reprise {
namespace {

// One event of the record, closed on every way out.
class Recorded {
 public:
  Recorded(StepRecord& record, EventKind kind, int stage, int micro_batch) : record_(record) {
    record_.begin(kind, stage, micro_batch);
  }
  ~Recorded() { record_.end(); }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

 private:
  StepRecord& record_;
};

}  // namespace

SegmentExecutor::SegmentExecutor(StageChain& model, Plan plan, uint64_t seed)
    : model_(model), plan_(std::move(plan)), seed_(seed) {
  check_plan(plan_, shapes_of(model_));
}

void SegmentExecutor::begin_step(int64_t step) {
  record_.begin_step(step);
  micro_batch_ = 0;
}

torch::Tensor SegmentExecutor::run(const Batch& batch, double loss_scale, const StageFinal& on_stage_final) {
  const size_t segments = plan_.segments.size();
  std::vector<LiveStage> live(static_cast<size_t>(model_.size()));
  std::vector<torch::Tensor> replay_from(segments);  // (B T C), of recomputed segments only
  torch::Tensor hidden = batch.tokens;
  for (size_t i = 0; i < segments; ++i) {
    const Segment& segment = plan_.segments[i];
    if (segment.recompute) {
      replay_from[i] = hidden;
      hidden = forward_forgetting(segment, std::move(hidden), batch);
    } else {
      hidden = forward_live(segment, EventKind::forward, std::move(hidden), batch, loss_scale, live);
    }
  }
  const torch::Tensor loss = std::move(hidden);
  torch::Tensor gradient = torch::ones_like(loss);  // the head has put loss_scale into its gradients already
  for (size_t i = segments; i-- > 0;) {
    const Segment& segment = plan_.segments[i];
    if (segment.recompute) {
      forward_live(segment, EventKind::recompute, std::move(replay_from[i]), batch, loss_scale, live);
    }
    for (int s = segment.last; s >= segment.first; --s) {
      {
        const Recorded event(record_, EventKind::backward, s, micro_batch_);
        gradient = live[static_cast<size_t>(s)].backward(std::move(gradient));
      }
      on_stage_final(s);
    }
  }
  ++micro_batch_;
  return loss;
}

torch::Tensor SegmentExecutor::evaluate(const Batch& batch) {
  const at::NoGradGuard no_grad;
  torch::Tensor hidden = batch.tokens;
  for (int s = 0; s < model_.size(); ++s) {
    StageContext context = context_of(batch, s, /*loss_scale=*/1.0);
    context.training = false;
    hidden = model_[s].forward(std::move(hidden), context);
  }
  return hidden;
}

StageContext SegmentExecutor::context_of(const Batch& batch, int stage, double loss_scale) const {
  StageContext context;
  context.seed = seed_;
  context.step = batch.step;
  context.first_sequence = batch.first_sequence;
  context.stage = stage;
  context.training = true;
  context.save = plan_.save[static_cast<size_t>(stage)];
  if (stage == model_.size() - 1) {
    context.targets = batch.targets;
    context.loss_scale = loss_scale;
  }
  return context;
}

// Forward with graphs: the only forward of a kept stage, or the replay of a recomputed segment.
torch::Tensor SegmentExecutor::forward_live(const Segment& segment, EventKind kind, torch::Tensor hidden,
                                            const Batch& batch, double loss_scale, std::vector<LiveStage>& live) {
  for (int s = segment.first; s <= segment.last; ++s) {
    const Recorded event(record_, kind, s, micro_batch_);
    hidden = live[static_cast<size_t>(s)].forward(model_[s], hidden, context_of(batch, s, loss_scale));
  }
  return hidden;
}

// The first forward of a recomputed segment: each stage's input dies with the stage.
torch::Tensor SegmentExecutor::forward_forgetting(const Segment& segment, torch::Tensor hidden, const Batch& batch) {
  const at::NoGradGuard no_grad;
  for (int s = segment.first; s <= segment.last; ++s) {
    const Recorded event(record_, EventKind::forward, s, micro_batch_);
    hidden = model_[s].forward(std::move(hidden), context_of(batch, s, /*loss_scale=*/1.0));
  }
  return hidden;
}

std::vector<StageShape> shapes_of(const StageChain& model) {
  std::vector<StageShape> shapes;
  for (int s = 0; s < model.size(); ++s) shapes.push_back({model[s].layer, model[s].recomputable});
  return shapes;
}

}  // namespace reprise
