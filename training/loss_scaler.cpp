#include "training/loss_scaler.h"

#include <ATen/ops/_amp_update_scale.h>

namespace reprise {

LossScaler::LossScaler(bool is_dynamic, torch::Device device)
    : is_dynamic_(is_dynamic),
      scale_(torch::full({}, is_dynamic ? kFirstScale : 1.0, torch::TensorOptions(device).dtype(torch::kFloat32))),
      good_updates_(torch::zeros({}, torch::TensorOptions(device).dtype(torch::kInt32))) {}

void LossScaler::update(const torch::Tensor& found_inf) {
  if (is_dynamic_) at::_amp_update_scale_(scale_, good_updates_, found_inf, kGrowth, kBackoff, kGrowthInterval);
}

}  // namespace reprise
