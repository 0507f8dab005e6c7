#include "model/dropout.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "model/philox_kernel.h"

namespace reprise {
namespace {

constexpr int64_t kGrain = 8192;  // elements a thread takes at least

template <class Real>
void run_kernel(const Dropout& dropout, const StageContext& context, const torch::Tensor& value,
                const torch::Tensor& residual, torch::Tensor& out) {
  const int64_t per_sequence = value.size(1) * value.size(2);
  const uint32_t threshold = dropout_threshold(dropout.rate);
  const Real scale = static_cast<Real>(1.0 / (1.0 - dropout.rate));
  const Real* from = value.const_data_ptr<Real>();
  const Real* added = residual.defined() ? residual.const_data_ptr<Real>() : nullptr;
  Real* to = out.mutable_data_ptr<Real>();
  at::parallel_for(0, value.numel(), kGrain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t sequence = begin / per_sequence, first = begin % per_sequence;
      const int64_t count = std::min(end - begin, per_sequence - first);
      const DropoutAddress address = dropout_address(context.seed, context.step, context.first_sequence + sequence,
                                                     context.stage, static_cast<uint32_t>(dropout.site));
      dropout_kernel<Real>(address, threshold, scale, first, count, from + begin, added ? added + begin : nullptr,
                           to + begin);
      begin += count;
    }
  });
}

void dispatch(const Dropout& dropout, const StageContext& context, const torch::Tensor& value,
              const torch::Tensor& residual, torch::Tensor& out) {
  TORCH_CHECK(value.is_contiguous() && out.is_contiguous() && (!residual.defined() || residual.is_contiguous()),
              "dropout addresses elements of contiguous tensors");
  if (value.scalar_type() == torch::kFloat32) {
    run_kernel<float>(dropout, context, value, residual, out);
  } else {
    run_kernel<double>(dropout, context, value, residual, out);
  }
}

}  // namespace

void Dropout::add_residual_(torch::Tensor& value, const torch::Tensor& residual, const StageContext& context) const {
  if (is_on(context)) {
    dispatch(*this, context, value, residual, value);
  } else if (residual.defined()) {
    value.add_(residual);
  }
}

torch::Tensor Dropout::backward(const torch::Tensor& grad, const StageContext& context) const {
  if (!is_on(context)) return grad;
  torch::Tensor out = torch::empty_like(grad);
  dispatch(*this, context, grad, {}, out);
  return out;
}

}  // namespace reprise
