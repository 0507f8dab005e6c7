#include "launcher/sampler.h"

namespace reprise {

Sampler::Sampler(const StageChain& model, std::vector<int64_t> tokens, double temperature, uint64_t seed)
    : model_(model), window_(std::move(tokens)), temperature_(temperature), generator_(seed) {}

int64_t Sampler::next() {
  const auto context = static_cast<size_t>(model_.config().context);
  if (window_.size() > context) window_.erase(window_.begin(), window_.end() - static_cast<ptrdiff_t>(context));
  const torch::Tensor tokens = torch::tensor(window_, torch::kInt64).unsqueeze(0);  // (1, T)
  window_.push_back(draw(model_.next_token_logits(tokens)[0]));
  return window_.back();
}

int64_t Sampler::draw(const torch::Tensor& logits) {  // (V)
  if (temperature_ == 0) return logits.argmax().item<int64_t>();
  // Inverse of the distribution function at a 53-bit fraction: the standard library's distributions are not portable.
  const torch::Tensor sums =
      torch::softmax(logits.to(torch::kFloat64) / temperature_, 0).cumsum(0).contiguous();  // (V)
  const double fraction = static_cast<double>(generator_() >> 11) * 0x1p-53;
  const double* begin = sums.const_data_ptr<double>();
  const double* end = begin + sums.numel();
  const double* chosen = std::upper_bound(begin, end, fraction * *(end - 1));
  return std::min<int64_t>(chosen - begin, sums.numel() - 1);
}

}  // namespace reprise
