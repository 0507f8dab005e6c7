#include "model/dropout.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace reprise {
namespace {

// Lets elements first, first + 1, … of each sequence fall, in place; values (B, count).
void drop_by_kernel(const DropoutAddress& at, torch::Tensor values, int64_t first, uint32_t threshold, double scale) {
  const int64_t count = values.size(1), stride = values.stride(0);
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "dropout", [&] {
    scalar_t* const rows = values.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, values.numel(), /*grain_size=*/8192, [&](int64_t begin, int64_t end) {
      for (int64_t done = 0; begin < end; begin += done) {
        const int64_t row = begin / count, column = begin % count;
        DropoutAddress address = at;
        address.sequence += static_cast<uint64_t>(row);
        done = std::min(end - begin, count - column);
        dropout_kernel(address, threshold, static_cast<scalar_t>(scale), first + column, done,
                       rows + row * stride + column);
      }
    });
  });
}

// In passes over a range of every sequence, which bound what is allocated: some 1 MiB on the CPU, 32 MiB on a device.
void apply(const Dropout& dropout, const StageContext& context, const torch::Tensor& value,
           const torch::Tensor& residual, torch::Tensor& out) {
  TORCH_CHECK(value.is_contiguous() && out.is_contiguous() && (!residual.defined() || residual.is_contiguous()),
              "dropout addresses elements of contiguous tensors");
  const int64_t sequences = value.size(0), length = value.size(1) * value.size(2);
  const int64_t most = std::max<int64_t>(1, (value.is_cpu() ? 1 << 17 : 1 << 20) / sequences);
  const auto wide = value.element_size() < 4 ? torch::kFloat32 : value.scalar_type();
  const DropoutAddress at = dropout_address(context.seed, context.step, context.first_sequence, context.stage,
                                            static_cast<uint32_t>(dropout.site));
  const uint32_t threshold = dropout_threshold(dropout.rate);
  const double scale = 1.0 / (1.0 - dropout.rate);
  for (int64_t first = 0; first < length; first += most) {
    const int64_t count = std::min(most, length - first);
    const auto part = [&](const torch::Tensor& x) { return x.flatten(1).narrow(1, first, count); };  // (B, count)
    torch::Tensor sum = part(out).copy_(part(value)).to(wide);  // the bytes of `out` themselves unless those are narrow
    if (value.is_cpu()) {
      drop_by_kernel(at, sum, first, threshold, scale);
    } else {
      sum.mul_(scale).masked_fill_(drawn_by_tensors(at, sequences, first, count, threshold, value.device()), 0);
    }
    if (residual.defined()) sum.add_(part(residual));
    if (!sum.is_alias_of(out)) part(out).copy_(sum);
  }
}

}  // namespace

// dropout_words() in int64, whose products keep all 64 bits; lanes 1 and 3 are cut to 32 bits only when they are read.
torch::Tensor drawn_by_tensors(const DropoutAddress& at, int64_t sequences, int64_t first, int64_t count,
                               uint32_t threshold, torch::Device device) {
  constexpr int64_t kLow = 0xFFFFFFFF;
  const auto options = torch::TensorOptions(device).dtype(torch::kInt64);
  const auto high_half = [](const torch::Tensor& x) { return at::bitwise_right_shift(x, 32); };
  const auto begin = static_cast<int64_t>(at.sequence);
  const torch::Tensor sequence = at::arange(begin, begin + sequences, options).unsqueeze(1);  // (B, 1)
  std::vector<torch::Tensor> lanes{at::arange(first / 4, (first + count + 3) / 4, options),
                                   at::full({}, int64_t{at.stream}, options), sequence & kLow, high_half(sequence)};
  uint32_t key_low = static_cast<uint32_t>(at.key), key_high = static_cast<uint32_t>(at.key >> 32);
  for (int round = 0; round < 10; ++round, key_low += 0x9E3779B9, key_high += 0xBB67AE85) {
    const torch::Tensor even = lanes[0] * int64_t{0xD2511F53}, odd = lanes[2] * int64_t{0xCD9E8D57};
    lanes = {((high_half(odd) ^ lanes[1]) ^ int64_t{key_low}) & kLow, odd,
             ((high_half(even) ^ lanes[3]) ^ int64_t{key_high}) & kLow, even};
  }
  for (torch::Tensor& lane : lanes) lane = (lane & kLow).lt(int64_t{threshold});
  return at::stack(lanes, -1).flatten(1).narrow(1, first % 4, count);
}

void Dropout::add_residual_(torch::Tensor& value, const torch::Tensor& residual, const StageContext& context) const {
  if (is_on(context)) {
    apply(*this, context, value, residual, value);
  } else if (residual.defined()) {
    value.add_(residual);
  }
}

torch::Tensor Dropout::backward(const torch::Tensor& grad, const StageContext& context) const {
  if (!is_on(context)) return grad;
  torch::Tensor out = torch::empty_like(grad);
  apply(*this, context, grad, {}, out);
  return out;
}

}  // namespace reprise
