#include "checkpointing/segment_executor.h"

#include <c10/util/ScopeExit.h>
#include <torch/autograd.h>
#include <torch/csrc/autograd/engine.h>

#include <stdexcept>
#include <utility>

namespace reprise {
namespace {

// One event of the record, closed on every way out.
auto recorded(StepRecord& record, EventKind kind, int stage, int micro_batch) {
  record.begin(kind, stage, micro_batch);
  return c10::make_scope_exit([&record] { record.end(); });
}

}  // namespace

torch::Tensor LiveStage::forward(Stage& stage, const torch::Tensor& input, const StageContext& context) {
  const at::AutoGradMode grad_mode(true);
  input_ = input.detach();
  if (input_.is_floating_point()) input_.set_requires_grad(true);
  const torch::Tensor output = stage.forward(input_, context);
  if (!output.requires_grad()) throw std::logic_error(stage.name + ": its output carries no graph to go back through");
  end_ = torch::autograd::impl::gradient_edge(output);
  return output.detach();
}

torch::Tensor LiveStage::backward(torch::Tensor gradient) {
  // The engine itself, because torch::autograd::backward starts from the output tensor, and would need it kept alive.
  torch::autograd::Engine::get_default_engine().execute({std::move(end_)}, {std::move(gradient)}, /*keep_graph=*/false,
                                                        /*create_graph=*/false, /*accumulate_grad=*/true);
  end_ = {};
  const torch::Tensor input = std::move(input_);
  return input.grad();
}

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
        const auto event = recorded(record_, EventKind::backward, s, micro_batch_);
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
  const bool is_head = stage == model_.size() - 1;
  return {.seed = seed_,
          .step = batch.step,
          .first_sequence = batch.first_sequence,
          .stage = stage,
          .training = true,
          .save = plan_.save[static_cast<size_t>(stage)],
          .targets = is_head ? batch.targets : torch::Tensor(),
          .loss_scale = is_head ? loss_scale : 1.0};
}

// Forward with graphs: the only forward of a kept stage, or the replay of a recomputed segment.
torch::Tensor SegmentExecutor::forward_live(const Segment& segment, EventKind kind, torch::Tensor hidden,
                                            const Batch& batch, double loss_scale, std::vector<LiveStage>& live) {
  for (int s = segment.first; s <= segment.last; ++s) {
    const auto event = recorded(record_, kind, s, micro_batch_);
    hidden = live[static_cast<size_t>(s)].forward(model_[s], hidden, context_of(batch, s, loss_scale));
  }
  return hidden;
}

// The first forward of a recomputed segment: each stage's input dies with the stage.
torch::Tensor SegmentExecutor::forward_forgetting(const Segment& segment, torch::Tensor hidden, const Batch& batch) {
  const at::NoGradGuard no_grad;
  for (int s = segment.first; s <= segment.last; ++s) {
    const auto event = recorded(record_, EventKind::forward, s, micro_batch_);
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
