#pragma once

#include <torch/types.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace reprise {

enum class Schedule { constant, linear, cosine, wsd };

struct OptimizerSetting {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1, clip_norm = 1.0;
  Schedule schedule = Schedule::cosine;
  int64_t warmup_steps = 0;
  double final_ratio = 0.1;  // learning rate at the end over its peak
};

// Learning rate of the 0-based step s of `steps`, with w = warmup_steps, r = final_ratio:
//   s < w     peak · (s + 1) / w, so the first step has 1/w of the peak and step w − 1 the peak itself;
//   constant  peak;
//   linear    peak · (1 − (1 − r) · p);
//   cosine    peak · (r + (1 − r) · (1 + cos πp) / 2);
//   wsd       like linear, but it leaves the peak only for the last fifth of the steps (at least one, never before w);
// where p = (s + 1 − start) / (steps − start), at most 1, and start = w or, for wsd, max(w, steps − max(1, steps / 5)).
// So the last step has r · peak, unless it belongs to the warm-up.
double learning_rate_at(const OptimizerSetting& setting, int64_t step, int64_t steps);

struct GradientCheck {
  torch::Tensor norm;  // () fp32: of the unscaled gradient before clipping; non-finite when any gradient is (or its
                       // square overflows)
  torch::Tensor non_finite;  // () fp32: 1 when the norm is, else 0
  torch::Tensor found_inf;   // () fp32: 1 when the update must be skipped, for that or for the norm's size, else 0
  torch::Tensor scale;       // () fp32: what the gradients are divided by, loss_scale · max(1, norm / clip_norm), or
                             // loss_scale when clip_norm is 0
};

// A range of the flat tensors, in elements, cut at multiples of 16: there the fused kernel's bits do not depend on it.
struct FlatRange {
  int64_t begin = 0, end = 0;
  bool decays = false;
};

// AdamW with decoupled weight decay (Loshchilov and Hutter 2019) over the flat tensors, by LibTorch's fused kernel: one
// call for the ranges that decay, one for those that do not. Ranges of the same kind that touch should be merged by the
// caller; elements outside all ranges are never written. Shares the flat tensors (both fp32 or both fp64), owns the
// moments and the step count. Main thread, current stream; the host waits for nothing.
class AdamW {
 public:
  // Throws std::invalid_argument when ranges are empty, overlap, descend, stick out or do not start at multiples of 16.
  // `computed`: the parameters in a narrower type, converted anew after every update; undefined: there is none.
  AdamW(torch::Tensor flat_parameters, torch::Tensor flat_gradients, const std::vector<FlatRange>& ranges,
        OptimizerSetting setting, torch::Tensor computed = {});

  // Of gradients that are `loss_scale` times too large, () fp32; undefined: 1. The update is skipped when the norm is
  // not finite or above `norm_limit`. Stays on the device, equal on every rank.
  GradientCheck check_and_clip(const torch::Tensor& loss_scale = {},
                               double norm_limit = std::numeric_limits<float>::max()) const;
  // Leaves the clipped gradients in the flat tensor. Does nothing, moments and count included, when found_inf is 1.
  void step(double learning_rate, const GradientCheck& check);

  // What a snapshot holds of it, beside the parameters. The flat moments may be filled from outside; resume() then says
  // how many updates they have seen. The host waits.
  const torch::Tensor& first_moment() const { return first_moment_; }    // (numel)
  const torch::Tensor& second_moment() const { return second_moment_; }  // (numel)
  double updates() const { return count_.item<double>(); }
  void resume(double updates);

 private:
  struct Group {  // the views of all ranges of one kind
    std::vector<torch::Tensor> parameters, gradients, first_moments, second_moments, counts;
    double weight_decay = 0;
  };

  torch::Tensor parameters_, gradients_, first_moment_, second_moment_, computed_;  // (numel)
  torch::Tensor count_;                                                             // () fp32: updates made
  OptimizerSetting setting_;
  std::vector<Group> groups_;
};

}  // namespace reprise
