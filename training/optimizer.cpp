#include "training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace reprise {
namespace {

constexpr int64_t kCut = 16;  // elements

void check_ranges(const std::vector<FlatRange>& ranges, int64_t numel) {
  int64_t previous_end = 0;
  for (const FlatRange& range : ranges) {
    if (range.begin < previous_end || range.begin >= range.end || range.end > numel || range.begin % kCut != 0) {
      throw std::invalid_argument("AdamW: bad range [" + std::to_string(range.begin) + ", " +
                                  std::to_string(range.end) + ") of " + std::to_string(numel) + " elements");
    }
    previous_end = range.end;
  }
}

}  // namespace

double learning_rate_at(const OptimizerSetting& setting, int64_t step, int64_t steps) {
  const double peak = setting.learning_rate, ratio = setting.final_ratio;
  const int64_t warmup = setting.warmup_steps;
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);

  const bool is_wsd = setting.schedule == Schedule::wsd;
  const int64_t start = is_wsd ? std::max(warmup, steps - std::max<int64_t>(1, steps / 5)) : warmup;
  const double left = static_cast<double>(std::max<int64_t>(steps - start, 1));
  const double progress = std::clamp(static_cast<double>(step + 1 - start) / left, 0.0, 1.0);
  switch (setting.schedule) {
    case Schedule::constant:
      return peak;
    case Schedule::linear:
    case Schedule::wsd:
      return peak * (1 - (1 - ratio) * progress);
    case Schedule::cosine:
      return peak * (ratio + (1 - ratio) * (1 + std::cos(std::numbers::pi * progress)) / 2);
  }
  throw std::invalid_argument("learning_rate_at: unknown schedule");
}

AdamW::AdamW(torch::Tensor flat_parameters, torch::Tensor flat_gradients, const std::vector<FlatRange>& ranges,
             OptimizerSetting setting, torch::Tensor computed)
    : parameters_(std::move(flat_parameters)),
      gradients_(std::move(flat_gradients)),
      first_moment_(torch::zeros_like(parameters_)),
      second_moment_(torch::zeros_like(parameters_)),
      computed_(std::move(computed)),
      count_(torch::zeros({}, parameters_.options().dtype(torch::kFloat32))),
      setting_(setting) {
  check_ranges(ranges, parameters_.numel());
  for (const bool decays : {true, false}) {
    Group group;
    group.weight_decay = decays ? setting_.weight_decay : 0.0;
    for (const FlatRange& range : ranges) {
      if (range.decays != decays) continue;
      const int64_t length = range.end - range.begin;
      group.parameters.push_back(parameters_.narrow(0, range.begin, length));
      group.gradients.push_back(gradients_.narrow(0, range.begin, length));
      group.first_moments.push_back(first_moment_.narrow(0, range.begin, length));
      group.second_moments.push_back(second_moment_.narrow(0, range.begin, length));
      group.counts.push_back(count_);
    }
    if (!group.parameters.empty()) groups_.push_back(std::move(group));
  }
}

GradientCheck AdamW::check_and_clip(const torch::Tensor& loss_scale, double norm_limit) const {
  GradientCheck check;
  check.norm = at::linalg_vector_norm(gradients_).to(torch::kFloat32);
  if (loss_scale.defined()) check.norm.div_(loss_scale);
  check.non_finite = check.norm.isfinite().logical_not().to(torch::kFloat32);
  check.found_inf = check.norm.le(norm_limit).logical_not().to(torch::kFloat32);  // NaN is below nothing
  check.scale = setting_.clip_norm > 0 ? check.norm.div(setting_.clip_norm).clamp_min(1) : torch::ones_like(check.norm);
  if (loss_scale.defined()) check.scale.mul_(loss_scale);
  return check;
}

void AdamW::step(double learning_rate, const GradientCheck& check) {
  count_.add_(1 - check.found_inf);
  for (const Group& group : groups_) {
    at::_fused_adamw_(group.parameters, group.gradients, group.first_moments, group.second_moments, {}, group.counts,
                      learning_rate, setting_.beta1, setting_.beta2, group.weight_decay, setting_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false, check.scale, check.found_inf);
  }
  if (computed_.defined()) computed_.copy_(parameters_);
}

void AdamW::resume(double updates) {
  count_.fill_(updates);
  if (computed_.defined()) computed_.copy_(parameters_);
}

}  // namespace reprise
