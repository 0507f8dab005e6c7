#include "training/loss_scaler.h"

#include <ATen/ops/_amp_update_scale.h>

namespace reprise {

LossScaler::LossScaler(bool is_dynamic, torch::Device device) {
  if (!is_dynamic) return;
  scale_ = torch::full({}, kFirstScale, torch::TensorOptions(device).dtype(torch::kFloat32));
  good_updates_ = torch::zeros({}, torch::TensorOptions(device).dtype(torch::kInt32));
}

void LossScaler::resume(double scale, int64_t good_updates) {
  if (!is_dynamic()) return;
  scale_.fill_(scale);
  good_updates_.fill_(good_updates);
}

void LossScaler::update(const torch::Tensor& non_finite) {
  if (!is_dynamic()) return;
  at::_amp_update_scale_(scale_, good_updates_, non_finite, kGrowth, kBackoff, kGrowthInterval);
  scale_.clamp_(1, kLargestScale);
}

}  // namespace reprise
