#include "checkpointing/segment_executor.h"

#define XXH_INLINE_ALL
#include <c10/core/AutogradState.h>
#include <c10/util/ScopeExit.h>
#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/profiler/stubs/base.h>
#include <xxhash.h>

#include <utility>

namespace reprise {
namespace {

// One event of the record, and in a CUDA build a range of a trace (NVTX), closed on every way out.
auto recorded(StepRecord& record, EventKind kind, int stage, const std::string& name, int micro_batch) {
  const auto* tracer = torch::profiler::impl::cudaStubs();
  const bool is_traced = tracer->enabled();
  if (is_traced) tracer->rangePush(fmt::format("{} {}", kEventNames[static_cast<size_t>(kind)], name).c_str());
  record.begin(kind, stage, micro_batch);
  return c10::make_scope_exit([&record, tracer, is_traced] {
    record.end();
    if (is_traced) tracer->rangePop();
  });
}

}  // namespace

torch::Tensor LiveStage::forward(Stage& stage, const torch::Tensor& input, const StageContext& context) {
  const at::AutoGradMode grad_mode(true);
  input_ = input.detach();
  if (input_.is_floating_point()) input_.set_requires_grad(true);
  const torch::Tensor output = stage.forward(input_, context);
  if (output.requires_grad()) {
    end_ = torch::autograd::impl::gradient_edge(output);
  } else if (input_.requires_grad()) {
    throw std::logic_error(stage.name + ": its output carries no graph to go back through");
  }
  return output.detach();
}

torch::Tensor LiveStage::backward(torch::Tensor gradient) {
  if (!end_.is_valid()) return {};
  // A device's stages, too, go back on this thread: no hand-over per stage, and its trace range covers the launches.
  c10::AutogradState::get_tls_state().set_multithreading_enabled(false);
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
  record_.begin_step(step, model_.device());
  micro_batch_ = 0;
  step_ = step;
  checked_segment_ = nullptr;
  if (check_.every_steps == 0 || step % check_.every_steps != 0) return;
  std::vector<const Segment*> recomputed;
  for (const Segment& segment : plan_.segments) {
    if (segment.recompute) recomputed.push_back(&segment);
  }
  if (recomputed.empty()) return;
  const int64_t turn = step / check_.every_steps, segments = std::ssize(recomputed);
  checked_segment_ = recomputed[static_cast<size_t>(turn % segments)];
  checked_micro_batch_ = turn / segments % check_.micro_batches;
}

torch::Tensor SegmentExecutor::run(const Batch& batch, double loss_scale, const PointFinal& on_final) {
  on_final_ = &on_final;
  last_point_ = model_.points();
  const size_t segments = plan_.segments.size();
  std::vector<LiveStage> live(static_cast<size_t>(model_.size()));
  std::vector<torch::Tensor> replay_from(segments);  // (B T C), of recomputed segments only
  torch::Tensor hidden = batch.tokens;
  for (size_t i = 0; i < segments; ++i) {
    const Segment& segment = plan_.segments[i];
    if (segment.recompute) replay_from[i] = hidden;
    hidden = forward(segment, EventKind::forward, std::move(hidden), batch, loss_scale,
                     segment.recompute ? nullptr : live.data());
  }
  const torch::Tensor loss = std::move(hidden);
  torch::Tensor gradient = torch::ones_like(loss);  // the head has put loss_scale into its gradients already
  for (size_t i = segments; i-- > 0;) {
    const Segment& segment = plan_.segments[i];
    if (segment.recompute) {
      forward(segment, EventKind::recompute, std::move(replay_from[i]), batch, loss_scale, live.data());
    }
    for (int s = segment.last; s >= segment.first; --s) {
      {
        const auto event = recorded(record_, EventKind::backward, s, model_[s].name, micro_batch_);
        gradient = live[static_cast<size_t>(s)].backward(std::move(gradient));
      }
      reach(2 * s);
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

void SegmentExecutor::reach(int point) {
  while (last_point_ > point) (*on_final_)(--last_point_);
}

StageContext SegmentExecutor::context_of(const Batch& batch, int stage, double loss_scale) {
  const bool is_head = stage == model_.size() - 1;
  return {.seed = seed_,
          .step = batch.step,
          .first_sequence = batch.first_sequence,
          .stage = stage,
          .training = true,
          .save = plan_.save[static_cast<size_t>(stage)],
          .targets = is_head ? batch.targets : torch::Tensor(),
          .loss_scale = is_head ? loss_scale : 1.0,
          .early_final = [this, stage] { reach(2 * stage + 1); }};
}

// With graphs in `live`: the only forward of a kept stage, or a replay. Without: the first forward of a recomputed
// segment, where each stage's input dies with the stage.
torch::Tensor SegmentExecutor::forward(const Segment& segment, EventKind kind, torch::Tensor hidden, const Batch& batch,
                                       double loss_scale, LiveStage* live) {
  const at::NoGradGuard no_grad;
  const bool is_checked = &segment == checked_segment_ && micro_batch_ == checked_micro_batch_;
  for (int s = segment.first; s <= segment.last; ++s) {
    const auto event = recorded(record_, kind, s, model_[s].name, micro_batch_);
    StageContext context = context_of(batch, s, loss_scale);
    context.early_stop = kind == EventKind::recompute && s == segment.last && !is_checked;
    hidden = live ? live[s].forward(model_[s], hidden, context) : model_[s].forward(std::move(hidden), context);
    if (is_checked) verify(kind, s, hidden);
  }
  return hidden;
}

void SegmentExecutor::verify(EventKind kind, int stage, const torch::Tensor& output) {
  const torch::Tensor bytes = output.contiguous().cpu();
  const uint64_t hash = XXH3_64bits(bytes.const_data_ptr(), bytes.nbytes());
  forward_hashes_.resize(static_cast<size_t>(model_.size()));
  uint64_t& first = forward_hashes_[static_cast<size_t>(stage)];
  if (kind == EventKind::forward) first = hash;
  if (hash == first) return;
  throw ReplayDiffers(fmt::format(
      "step {}, micro-batch {} of {}, {}: the replay of stage {} gives other bits than its forward did. Go on from the "
      "newest snapshot; a host or device that is named again is broken, a stage that is named again is no function",
      step_ + 1, micro_batch_ + 1, check_.micro_batches, check_.place, model_[stage].name));
}

std::vector<StageShape> shapes_of(const StageChain& model) {
  std::vector<StageShape> shapes;
  for (int s = 0; s < model.size(); ++s) shapes.push_back({model[s].layer, model[s].recomputable});
  return shapes;
}

}  // namespace reprise
