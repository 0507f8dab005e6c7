#include "training/sampler.h"

#include <algorithm>

#include "training/errors.h"

namespace reprise {

static constexpr double kNever = -std::numeric_limits<double>::infinity();  // the logit of a token that is not drawn

torch::Tensor token_probabilities(const torch::Tensor& logits, const SamplingSetting& setting) {
  torch::Tensor scores = logits.cpu().to(torch::kFloat64);  // (V)
  scores = (scores - scores.max()) / setting.temperature;
  if (setting.top_k > 0) {
    const torch::Tensor likeliest = std::get<0>(scores.topk(std::min(setting.top_k, scores.size(0))));
    scores.masked_fill_(scores < likeliest.min(), kNever);
  }
  if (setting.top_p < 1) {
    const auto [sorted, order] = scores.sort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
    const torch::Tensor probabilities = sorted.softmax(0);
    // By the sum of the likelier ones, which for the first is 0.
    const torch::Tensor is_cut = probabilities.cumsum(0) - probabilities >= setting.top_p;
    scores.masked_fill_(is_cut.scatter(0, order, is_cut), kNever);
  }
  return scores.softmax(0);
}

Sampler::Sampler(const StageChain& model, std::vector<int64_t> tokens, const SamplingSetting& setting,
                 const std::function<bool(int64_t)>& may_follow)
    : model_(model),
      setting_(setting),
      never_(torch::zeros({model.config().vocabulary}, torch::kBool)),
      window_(std::move(tokens)),
      generator_(setting.seed) {
  for (int64_t token = 0; token < never_.size(0); ++token)
    never_.mutable_data_ptr<bool>()[token] = may_follow && !may_follow(token);
  never_ = never_.to(model.device());
  const std::ptrdiff_t beyond = std::ssize(window_) - model.config().context;
  if (beyond > 0) window_.erase(window_.begin(), window_.begin() + beyond);
}

int64_t Sampler::next() {
  const int64_t context = model_.config().context;
  if (std::ssize(window_) > context) {  // what the cache holds of a token depends on its position, so it starts anew
    window_.erase(window_.begin(), window_.end() - (context + 1) / 2);
    cache_.positions = 0;
  }
  const std::vector<int64_t> unseen(window_.begin() + cache_.positions, window_.end());
  const torch::Tensor tokens = torch::tensor(unseen, torch::kInt64).unsqueeze(0).to(model_.device());  // (1, T)
  torch::Tensor logits = model_.next_token_logits(tokens, &cache_)[0];                                 // (V)
  if (!logits.isfinite().all().item<bool>()) throw DataError("expected finite predictions of the model, got others");
  logits = logits.masked_fill(never_, kNever);
  window_.push_back(setting_.temperature == 0 ? logits.argmax().item<int64_t>() : draw(logits));
  return window_.back();
}

// Inverse of the distribution function at a 53-bit fraction: the standard library's distributions are not portable.
int64_t Sampler::draw(const torch::Tensor& logits) {
  const torch::Tensor sums = token_probabilities(logits, setting_).cumsum(0);  // (V)
  const double fraction = static_cast<double>(generator_() >> 11) * 0x1p-53;
  const double *begin = sums.const_data_ptr<double>(), *end = begin + sums.numel();
  const double* last = std::lower_bound(begin, end, *(end - 1));  // that is not cut
  return std::min(std::upper_bound(begin, end, fraction * *last), last) - begin;
}

size_t unfinished_character_bytes(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // inside a character
    const size_t bytes = byte >= 0xF8 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return back < bytes ? back : 0;
  }
  return 0;
}

}  // namespace reprise
