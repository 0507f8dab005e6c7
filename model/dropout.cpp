#include "model/dropout.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "model/philox.h"

namespace reprise {
namespace {

constexpr int64_t kGrain = 8192;  // elements a thread takes at least

void run_kernel(const Dropout& dropout, const StageContext& context, const torch::Tensor& value,
                const torch::Tensor& residual, torch::Tensor& out) {
  TORCH_CHECK(value.is_contiguous() && out.is_contiguous() && (!residual.defined() || residual.is_contiguous()),
              "dropout addresses elements of contiguous tensors");
  const int64_t per_sequence = value.size(1) * value.size(2);
  const uint32_t threshold = dropout_threshold(dropout.rate);
  const double scale = 1.0 / (1.0 - dropout.rate);
  AT_DISPATCH_FLOATING_TYPES_AND(torch::kBFloat16, value.scalar_type(), "dropout", [&] {
    const scalar_t* from = value.const_data_ptr<scalar_t>();
    const scalar_t* added = residual.defined() ? residual.const_data_ptr<scalar_t>() : nullptr;
    scalar_t* to = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, value.numel(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t count = 0; begin < end; begin += count) {
        const int64_t sequence = begin / per_sequence, first = begin % per_sequence;
        count = std::min(end - begin, per_sequence - first);
        const DropoutAddress address = dropout_address(context.seed, context.step, context.first_sequence + sequence,
                                                       context.stage, static_cast<uint32_t>(dropout.site));
        dropout_kernel<scalar_t>(address, threshold, scale, first, count, from + begin, added ? added + begin : nullptr,
                                 to + begin);
      }
    });
  });
}

}  // namespace

void Dropout::add_residual_(torch::Tensor& value, const torch::Tensor& residual, const StageContext& context) const {
  if (is_on(context)) {
    run_kernel(*this, context, value, residual, value);
  } else if (residual.defined()) {
    value.add_(residual);
  }
}

torch::Tensor Dropout::backward(const torch::Tensor& grad, const StageContext& context) const {
  if (!is_on(context)) return grad;
  torch::Tensor out = torch::empty_like(grad);
  run_kernel(*this, context, grad, {}, out);
  return out;
}

}  // namespace reprise
