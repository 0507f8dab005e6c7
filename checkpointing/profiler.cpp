#include "checkpointing/profiler.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>

#include "checkpointing/memory_meter.h"
#include "checkpointing/segment_executor.h"
#include "checkpointing/step_record.h"
#include "model/stage.h"

namespace reprise {
namespace {

constexpr int kLeastRounds = 3, kMostRounds = 40;
constexpr int kLate = 1;  // in place of a micro-batch: the part of a backward after early parameters have gradients
// Of a kind in the window: with one alone, weights would sit in caches as they never do in a step.
constexpr int kInstances = 2;

int64_t live_bytes() { return static_cast<int64_t>(MemoryMeter::current_bytes()); }
int64_t peak_bytes() { return static_cast<int64_t>(MemoryMeter::peak_bytes()); }

double middle_mean(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto trimmed = static_cast<std::ptrdiff_t>(samples.size() / 4);
  const auto first = samples.begin() + trimmed, last = samples.end() - trimmed;
  return std::accumulate(first, last, 0.0) / static_cast<double>(last - first);
}

// Equal for stages that cost the same.
std::string kind_of(const StageChain& model, int stage) {
  std::string kind = model[stage].name;
  if (model[stage].layer >= 0) kind.erase(0, kind.find('.') + 1);
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    if (std::count(parameter.stages.begin(), parameter.stages.end(), stage) == 0) continue;
    kind += fmt::format(" ({})", fmt::join(parameter.shape, ","));
  }
  return kind;
}

class Profiler {
 public:
  Profiler(StageChain& model, const ProfileSetting& setting)
      : model_(model),
        batch_(model.random_batch(setting.micro_sequences, setting.tokens,
                                  at::make_generator<at::CPUGeneratorImpl>(setting.seed))) {
    for (int s = 0; s < model.size(); ++s) {
      Kind& kind = kinds_[kind_of(model, s)];
      kind_at_.push_back(&kind);
      if (kind.instances++ < kInstances) window_.push_back(s);
    }
  }

  CostTable run(double seconds) {
    time_round(SaveLevel::all);  // warms up: what is made once must not be counted
    for (auto& [name, kind] : kinds_) kind = {.instances = kind.instances};
    CostTable costs;
    costs.base_bytes = measure_bytes();
    measure_seconds(seconds);
    for (int s = 0; s < model_.size(); ++s) {
      StageCost& cost = costs.stages.emplace_back(kind_at(s).cost);
      cost.name = model_[s].name;
      cost.layer = model_[s].layer;
      cost.recomputable = model_[s].recomputable;
    }
    return costs;
  }

 private:
  struct Kind {
    int instances = 0;
    StageCost cost;
    std::vector<double> forward_seconds;                                   // one sample an instance and round
    std::array<std::vector<double>, kSaveLevels.size()> backward_seconds;  // by level, in the same order of samples
    std::vector<double> late_seconds;                                      // of a backward at level all
  };

  Kind& kind_at(int stage) { return *kind_at_[static_cast<size_t>(stage)]; }

  StageContext context_of(int stage, SaveLevel level) const {
    return {.stage = stage,
            .training = true,
            .save = level,
            .targets = stage == model_.size() - 1 ? batch_.targets : torch::Tensor(),
            .loss_scale = 1.0 / static_cast<double>(batch_.targets.numel())};
  }

  // Returns those of the loss.
  int64_t measure_bytes() {
    torch::Tensor hidden = batch_.tokens;  // (B, T), then (B, T, C)
    for (const int s : window_) {
      StageCost& cost = kind_at(s).cost;
      if (cost.boundary_bytes == 0) {  // the first of its kind
        cost.boundary_bytes = static_cast<int64_t>(hidden.nbytes());
        for (const SaveLevel level : kSaveLevels) cost.saves[static_cast<size_t>(level)] = bytes_of(s, hidden, level);
      }
      LiveStage live;
      hidden = live.forward(model_[s], hidden, context_of(s, SaveLevel::input));
    }
    return static_cast<int64_t>(hidden.nbytes());
  }

  SaveCost bytes_of(int stage, const torch::Tensor& input, SaveLevel level) {
    const StageContext context = context_of(stage, level);
    const int64_t before = live_bytes();
    SaveCost cost;
    torch::Tensor own_input = input.clone();
    LiveStage live;
    MemoryMeter::reset_peak();
    torch::Tensor output = live.forward(model_[stage], own_input, context);
    own_input.reset();
    const int64_t forward_peak = peak_bytes() - before;
    torch::Tensor gradient = torch::ones_like(output);
    output.reset();
    cost.kept_bytes = live_bytes() - before - static_cast<int64_t>(gradient.nbytes());
    cost.forward_workspace_bytes = forward_peak - cost.kept_bytes;
    MemoryMeter::reset_peak();
    live.backward(std::move(gradient));
    const int64_t backward_peak = peak_bytes() - before;
    cost.backward_workspace_bytes = backward_peak - cost.kept_bytes;
    if (model_[stage].recomputable) {
      const int64_t workspace = forgetting_workspace_bytes(stage, input, context);
      // Otherwise this stage's own backward, with the same bytes held around it, is the higher moment.
      if (workspace + static_cast<int64_t>(input.nbytes()) > backward_peak) {
        cost.forward_workspace_bytes = std::max(cost.forward_workspace_bytes, workspace);
      }
    }
    return cost;
  }

  // Beside the input, of the first forward in a recomputed segment.
  int64_t forgetting_workspace_bytes(int stage, const torch::Tensor& input, const StageContext& context) {
    const at::NoGradGuard no_grad;
    const int64_t before = live_bytes();
    MemoryMeter::reset_peak();
    model_[stage].forward(input, context);
    return peak_bytes() - before;
  }

  void measure_seconds(double seconds) {
    const double started = now_seconds();
    for (int round = 0; round < kMostRounds; ++round) {
      if (round >= kLeastRounds && now_seconds() - started > seconds) break;
      for (const SaveLevel level : kSaveLevels) time_round(level);
    }
    for (auto& [name, kind] : kinds_) {
      StageCost& cost = kind.cost;
      const std::vector<double>& reference = kind.backward_seconds.front();
      cost.forward_seconds = middle_mean(kind.forward_seconds);
      cost.backward_seconds = middle_mean(reference);
      if (!kind.late_seconds.empty())
        cost.late_seconds = std::min(middle_mean(kind.late_seconds), cost.backward_seconds);
      for (size_t level = 1; level < cost.saves.size(); ++level) {
        if (cost.saves[level].kept_bytes == cost.saves.front().kept_bytes) continue;
        std::vector<double> extra = kind.backward_seconds[level];
        std::transform(extra.begin(), extra.end(), reference.begin(), extra.begin(), std::minus<>());
        cost.saves[level].extra_seconds = std::max(0.0, middle_mean(std::move(extra)));
      }
      // What `input` replays in its backward is what the last stage of a segment replays.
      const SaveCost& input = cost.at(SaveLevel::input);
      if (input.kept_bytes == cost.saves.front().kept_bytes) continue;
      cost.early_stop_seconds = std::max(0.0, cost.forward_seconds - input.extra_seconds);
    }
  }

  // A step over the window with everything kept at one level.
  void time_round(SaveLevel level) {
    StepRecord record;
    record.begin_step(0, model_.device());
    std::vector<LiveStage> live(window_.size());
    torch::Tensor hidden = batch_.tokens;
    for (size_t i = 0; i < window_.size(); ++i) {
      StageContext context = context_of(window_[i], level);
      context.early_final = [&record, s = window_[i]] {
        record.end();
        record.begin(EventKind::backward, s, kLate);
      };
      record.begin(EventKind::forward, window_[i], 0);
      hidden = live[i].forward(model_[window_[i]], hidden, context);
      record.end();
    }
    torch::Tensor gradient = torch::ones_like(hidden);
    for (size_t i = window_.size(); i-- > 0;) {
      record.begin(EventKind::backward, window_[i], 0);
      gradient = live[i].backward(std::move(gradient));
      record.end();
    }
    for (const StageEvent& event : record.events()) {
      Kind& kind = kind_at(event.stage);
      auto& backward = kind.backward_seconds[static_cast<size_t>(level)];
      const double seconds = event.end_seconds - event.start_seconds;
      if (event.micro_batch == kLate) {
        backward.back() += seconds;
        if (level == SaveLevel::all) kind.late_seconds.push_back(seconds);
      } else {
        (event.kind == EventKind::forward ? kind.forward_seconds : backward).push_back(seconds);
      }
    }
  }

  StageChain& model_;
  const Batch batch_;
  std::map<std::string, Kind> kinds_;
  std::vector<Kind*> kind_at_;  // by stage
  std::vector<int> window_;     // the stages that are run
};

}  // namespace

CostTable profile(StageChain& bound_model, const ProfileSetting& setting) {
  if (!MemoryMeter::is_installed()) throw std::logic_error("profile: the memory meter is not installed");
  CostTable costs = Profiler(bound_model, setting).run(setting.seconds);
  costs.micro_sequences = setting.micro_sequences;
  costs.tokens = setting.micro_sequences * setting.tokens;
  return costs;
}

}  // namespace reprise
