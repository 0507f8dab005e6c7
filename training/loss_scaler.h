#pragma once

#include <torch/types.h>

namespace reprise {

// Dynamic loss scaling (Micikevicius et al. 2018): gradients are formed 2^k times too large, so that small ones survive
// a narrow exponent. An update that meets a non-finite gradient is skipped and halves the scale; 2,000 good ones in a
// row double it, between 1 and 2^24. Off: the scale is 1 for good. Every rank sees the same summed gradients, hence the
// same scale. Main thread, current stream; the host waits only in read().
class LossScaler {
 public:
  static constexpr double kFirstScale = 65536, kLargestScale = 1 << 24, kGrowth = 2, kBackoff = 0.5;
  static constexpr int64_t kGrowthInterval = 2000;

  explicit LossScaler(bool is_dynamic, torch::Device device = torch::kCPU);

  // What the gradients of the next step are multiplied by, () fp32; undefined when off.
  const torch::Tensor& scale() const { return scale_; }
  bool is_dynamic() const { return scale_.defined(); }
  double read() const { return is_dynamic() ? scale_.item<double>() : 1; }  // the host waits

  int64_t good_updates() const { return is_dynamic() ? good_updates_.item<int64_t>() : 0; }  // the host waits
  void resume(double scale, int64_t good_updates);                                           // does nothing when off

  void update(const torch::Tensor& non_finite);  // () fp32: 1 when the gradient was, else 0

 private:
  torch::Tensor scale_;         // () fp32
  torch::Tensor good_updates_;  // () int32, in a row
};

}  // namespace reprise
